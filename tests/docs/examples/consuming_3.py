from collections.abc import Mapping
from typing import Any

from bridge.consumer import Place


class PostgresStore:
    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def load(self, topic: str, partition: int) -> Mapping[Place, str]:
        query = "SELECT key, replayed, sequence FROM highest WHERE topic = %s AND partition = %s"
        rows = self.connection.execute(query, (topic, partition))
        return {Place(topic, partition, key, replayed): sequence for key, replayed, sequence in rows}

    def save(self, highest: Mapping[Place, str]) -> None:
        upsert = (
            "INSERT INTO highest VALUES (%s, %s, %s, %s, %s) ON CONFLICT (topic, partition, key, replayed)"
            " DO UPDATE SET sequence = greatest(highest.sequence, excluded.sequence)"
        )
        with self.connection.cursor() as cursor:
            cursor.executemany(upsert, [(*place, sequence) for place, sequence in highest.items()])
        self.connection.commit()
