from confluent_kafka import Consumer

from bridge.consumer import CONFIG, Events

consumer = Consumer({"bootstrap.servers": "localhost:9092", "group.id": "my-app", **CONFIG})
events = Events(consumer, ["mix.events"])
for event in events:
    print(event.server, event.session, event.type, event.json())
