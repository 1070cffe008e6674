from confluent_kafka import Consumer
from bridge.consumer import CONFIG, Events

consumer = Consumer({"bootstrap.servers": "localhost:9092", "group.id": "my-app", **CONFIG})
for event in Events(consumer, ["mix.events"]):
    print(event.session, event.type, event.data.decode(), flush=True)
