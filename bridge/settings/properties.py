"""Names that ``kafka.properties`` refuses: properties with their own key, and properties that would break delivery."""

from __future__ import annotations

import re

# librdkafka's name -> the key to use instead
OWN_KEY = {
    "bootstrap.servers": "kafka.bootstrap_servers",
    "metadata.broker.list": "kafka.bootstrap_servers",
    "security.protocol": "kafka.security_protocol",
    "sasl.mechanism": "kafka.sasl_mechanism",
    "sasl.mechanisms": "kafka.sasl_mechanism",
    "sasl.username": "kafka.sasl_username",
    "sasl.password": "kafka.sasl_password",
    "ssl.ca.location": "kafka.ssl_ca_file",
    "ssl.certificate.location": "kafka.ssl_cert_file",
    "ssl.key.location": "kafka.ssl_key_file",
    "ssl.key.password": "kafka.ssl_key_password",
    "compression.codec": "kafka.compression",
    "compression.type": "kafka.compression",
    "session.timeout.ms": "kafka.group_session_timeout",
    "message.max.bytes": "events.max_bytes",
    "queue.buffering.max.messages": "delivery.max_in_flight",
    "queue.buffering.max.kbytes": "delivery.max_buffer_bytes",
    "allow.auto.create.topics": "topics.create",
}

# (pattern of the name, consequence)
_BREAKING = [
    (r"acks|request\.required\.acks", "a record would be acknowledged before all replicas have it"),
    (
        r"(enable\.)?idempotence|enable\.gapless\.guarantee|retries|message\.send\.max\.retries|max\.in\.flight.*",
        "records would be lost, repeated or reordered",
    ),
    (r"queuing\.strategy", "records would be reordered"),
    (r"transactional\.id", "two producers would fence each other"),
    (
        r"transaction\.timeout\.ms",
        "the brokers would abort transactions too early, or block consumers for too long",
    ),
    (r"partitioner|sticky\.partitioning\..*", "a session's records would not stay in the partition of their key"),
    (r"(message|delivery)\.timeout\.ms", "records would expire in memory and be lost"),
    (r"delivery\.report\.only\.error|produce\.offset\.report", "the bridge would get no report of written records"),
    (r"log\.connection\.close", "the bridge would not notice a request that was cut off in a transaction"),
    (r"batch\.size", "Kafka would refuse whole batches that are too large"),
    (
        r"(enable\.)?auto\.(commit|offset)\..*|auto\.commit\..*|enable\.auto\..*|offset\.store\..*",
        "positions would move without the bridge",
    ),
    (
        r"group\..*|partition\.assignment\.strategy|heartbeat\.interval\.ms|max\.poll\.interval\.ms",
        "two replicas could own the same sessions, or none",
    ),
    (r"isolation\.level|enable\.partition\.eof|check\.crcs", "checkpoints would be read wrongly at start"),
    (r"topic\.blacklist", "topics would be hidden from the bridge"),
    (r"test\..*|ut\..*", "records would go to a Kafka that does not exist"),
    (
        r".*_cb|.*_data|on_delivery|on_commit|opaque|logger|interceptors|plugin\..*|msg_order_cmp|enabled_events",
        "it is code, not a value",
    ),
    (r"default[._]topic[._]conf.*|log\.queue|builtin\.features", "it changes the construction of the client"),
]
_PATTERNS = [(re.compile(pattern), why) for pattern, why in _BREAKING]


def refusal(name: str) -> str | None:
    """The reason why a property must not be set, as the message of a mistake; None if it may be set."""
    if name in OWN_KEY:
        return f"has its own key; allowed: {OWN_KEY[name]}"
    why = next((why for pattern, why in _PATTERNS if pattern.fullmatch(name)), None)
    return None if why is None else f"is set by the bridge: {why}; allowed: other properties of librdkafka"


_SECRET = re.compile(r"password|passphrase|secret|assertion|jaas|\.pem$|oauthbearer\.config$|^ssl[._]key$")
_NUMBER_OR_WORD = re.compile(
    r"client\.(id|rack|dns\.lookup)|debug|log_level|.*\.(ms|s|k?bytes|messages|max|size|level|enable|method|scope|family"
    r"|algorithm|location|url)"
)


def is_secret(name: str) -> bool:
    """Whether the value of a property must not be in any text."""
    return _SECRET.search(name) is not None


def is_public(name: str) -> bool:
    """Whether the value of a property may be shown with the settings: an unknown property's may not."""
    return not is_secret(name) and _NUMBER_OR_WORD.fullmatch(name) is not None
