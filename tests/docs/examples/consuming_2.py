from confluent_kafka import Consumer

from bridge.consumer import CONFIG, Events, FileStore

store = FileStore("results.sqlite")
store.connection.execute("CREATE TABLE IF NOT EXISTS result (session TEXT, data TEXT)")
consumer = Consumer({"bootstrap.servers": "localhost:9092", "group.id": "my-app", **CONFIG})
for event in Events(consumer, ["mix.events"], store=store):
    store.connection.execute("INSERT INTO result VALUES (?, ?)", (event.session, event.data.decode()))
