import json
import sqlite3

from confluent_kafka import Consumer

from bridge.consumer import CONFIG, NotAnEvent, event_of_message

database = sqlite3.connect("mix.sqlite")
database.execute(
    "CREATE TABLE IF NOT EXISTS records (topic TEXT, partition INTEGER, position INTEGER, session TEXT, type TEXT,"
    " sequence TEXT, replayed BOOLEAN, time TEXT, data TEXT, PRIMARY KEY (topic, partition, position))"
)
consumer = Consumer({"bootstrap.servers": "localhost:9092", "group.id": "one-analysis", **CONFIG})
consumer.subscribe(["mix.events"])
idle = 0
while idle < 5:
    message = consumer.poll(1.0)
    idle = idle + 1 if message is None else 0
    if message is None or message.error():
        continue
    try:
        event = event_of_message(message)
    except NotAnEvent:
        continue
    place = (event.topic, event.partition, event.offset)
    row = (event.key, event.type, event.sequence, event.replayed, event.time.isoformat(), event.data.decode())
    database.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*place, *row))
database.commit()
consumer.close()
print(json.dumps({"records": database.execute("SELECT count(*) FROM records").fetchone()[0]}))
