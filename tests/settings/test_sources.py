"""Sources of settings: options, environment, secrets directory, TOML, defaults, in this order."""

import pytest
from pydantic import SecretStr

from bridge.settings import load_all
from bridge.settings.catalogue import all_keys, variable
from bridge.settings.show import as_lines
from tests.support.settings_sources import loaded, mistake, mistakes

URL = "http://localhost:8088"
LOCAL = {"MIX_BRIDGE_SERVERS__LOCAL__URL": URL}


@pytest.fixture
def toml(tmp_path):
    def write(text):
        file = tmp_path / "bridge.toml"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def secrets(tmp_path):
    directory = tmp_path / "secrets"
    directory.mkdir()

    def write(**files):
        for name, text in files.items():
            (directory / name).write_text(text)
        return directory

    return write


def test_without_any_source_all_settings_are_defaults():
    settings = loaded()
    assert (settings.namespace, settings.servers, settings.kafka.bootstrap_servers) == ("mix", {}, "")
    assert (settings.start_timeout, settings.events.max_bytes, settings.http.port) == (60.0, 921600, 8090)
    assert settings.delivery.max_buffer_bytes == 128 * 1024**2


def test_each_source_is_stronger_than_the_next(toml, secrets):
    file = toml(
        '[kafka]\ncompression = "gzip"\nsasl_username = "toml"\n[log]\nlevel = "error"\n[events]\nunknown = "skip"'
    )
    directory = secrets(kafka__compression="snappy", log__level="warning")
    env = {"MIX_BRIDGE_KAFKA__COMPRESSION": "zstd", "MIX_BRIDGE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"}
    everything = {"toml": file, "secrets_dir": directory, "env": env, "set": {"kafka.compression": "none"}}

    settings = loaded(**everything)
    assert settings.kafka.compression == "none"
    assert settings.log.level == "warning"
    assert (settings.events.unknown, settings.kafka.sasl_username) == ("skip", "toml")
    assert loaded(**everything | {"set": {}}).kafka.compression == "zstd"
    assert (
        loaded(
            toml=file, secrets_dir=directory, env={"MIX_BRIDGE_KAFKA__SECURITY_PROTOCOL": "sasl_ssl"}
        ).kafka.compression
        == "snappy"
    )
    assert loaded(toml=file, env={"MIX_BRIDGE_KAFKA__SECURITY_PROTOCOL": "sasl_ssl"}).kafka.compression == "gzip"


def test_a_stronger_source_replaces_a_whole_list(toml):
    file = toml(f'[servers.local]\nurl = "{URL}"\nsessions = ["a", "b"]\n[events]\nskip = ["x"]')
    settings = loaded({"MIX_BRIDGE_SERVERS__LOCAL__SESSIONS": "c", "MIX_BRIDGE_EVENTS__SKIP": "[]"}, file)
    assert settings.servers["local"].sessions == ("c",)
    assert settings.events.skip == ()


def test_tables_of_several_sources_are_merged_key_by_key(toml):
    file = toml(f'[servers.local]\nurl = "{URL}"\n[servers.local.headers]\nX-One = "1"\nX-Two = "2"')
    settings = loaded({"MIX_BRIDGE_SERVERS__LOCAL__HEADERS__X_TWO": "3"}, file)
    headers = {name: value.get_secret_value() for name, value in settings.servers["local"].headers.items()}
    assert headers == {"x-one": "1", "x-two": "3"}


def test_the_config_option_replaces_the_variable(toml, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text('namespace = "other"')
    env = {"MIX_BRIDGE_CONFIG": str(other)}
    assert loaded(env).namespace == "other"
    assert loaded(env, toml('namespace = "named"')).namespace == "named"


def test_the_default_secrets_directory_is_that_of_systemd(secrets, tmp_path):
    directory = secrets(http__token="named\n")
    env = {"CREDENTIALS_DIRECTORY": str(directory)}
    assert loaded(env).http.token == SecretStr("named")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert loaded(env, secrets_dir=empty).http.token is None


def test_secrets_files_are_named_like_keys_and_lose_their_newline(secrets):
    directory = secrets(
        servers__local__token="t0ken\n", servers__local__url=URL, servers__local__headers__x_api_key="k\r\n"
    )
    server = loaded(secrets_dir=directory).servers["local"]
    assert server.token == SecretStr("t0ken")
    assert server.headers["x-api-key"].get_secret_value() == "k"


def test_hidden_files_and_directories_of_a_secrets_directory_are_skipped(secrets):
    directory = secrets(http__token="t", **{".hidden": "x"})
    (directory / "..2026_01_01").mkdir()
    (directory / "..data").symlink_to("..2026_01_01")
    (directory / "folder").mkdir()
    assert loaded(secrets_dir=directory).http.token == SecretStr("t")


def test_an_unknown_file_in_the_secrets_directory_is_an_error_with_the_nearest_key(secrets):
    line = mistake(secrets_dir=secrets(servers__local__tokn="hunter2", servers__local__url=URL))
    assert line.startswith("servers__local__tokn: unknown key; nearest known key: servers.local.token")
    assert "hunter2" not in line


def test_credentials_of_systemd_that_other_keys_name_are_skipped(secrets, toml):
    """``%d`` in a unit is the credentials directory: a file that another key names there is not a setting."""
    directory = secrets(**{"server-token": "a", "http__token": "b", "my__kafka__password": "c", "log__level": "error"})
    env = {
        **LOCAL,
        "CREDENTIALS_DIRECTORY": str(directory),
        "MIX_BRIDGE_SERVERS__LOCAL__TOKEN_FILE": f"{directory}/server-token",
        "MIX_BRIDGE_HTTP__TOKEN_FILE": f"{directory}//http__token",
        "MIX_BRIDGE_KAFKA__SECURITY_PROTOCOL": "sasl_ssl",
    }
    file = toml(f'[kafka]\nsasl_password_file = "{directory}/my__kafka__password"')
    settings = loaded(env, file)
    assert settings.servers["local"].bearer() == "a"
    assert settings.http.token == SecretStr("b")
    assert settings.kafka.sasl_password == SecretStr("c")
    assert settings.log.level == "error"


def test_other_credentials_of_systemd_are_skipped_unread(secrets):
    directory = secrets(token="x", **{"ca.pem": ""})
    (directory / "keystore").write_bytes(b"\xff")
    env = {"CREDENTIALS_DIRECTORY": str(directory)}
    assert loaded(env) == loaded()
    assert len(mistakes(secrets_dir=directory)) == 3, "a directory named by an option contains only settings"


@pytest.mark.parametrize(
    ("name", "nearest"), [("http__tokn", "http.token"), ("kafka__sasl_pasword", "kafka.sasl_password")]
)
def test_a_misspelt_credential_of_systemd_is_still_an_error(secrets, name, nearest):
    line = mistake({"CREDENTIALS_DIRECTORY": str(secrets(**{name: "hunter2"}))})
    assert line.startswith(f"{name}: unknown key; nearest known key: {nearest}")
    assert "hunter2" not in line


def test_a_credential_of_systemd_may_be_a_key_of_one_word(secrets):
    assert loaded({"CREDENTIALS_DIRECTORY": str(secrets(namespace="blue\n"))}).namespace == "blue"


@pytest.mark.parametrize("content", ["[servers.local", None])
def test_an_unreadable_file_causes_no_further_mistakes(tmp_path, content):
    """The missing settings may be in the file: one mistake is reported, not four."""
    file = tmp_path / "bridge.toml"
    if content:
        file.write_text(content)
    env = {
        "MIX_BRIDGE_SERVERS__LOCAL__TOKEN": "t",
        "MIX_BRIDGE_KAFKA__SASL_USERNAME": "u",
        "MIX_BRIDGE_SERVERS__OTHER__RECONNECT_MIN": "2m",
    }
    assert mistake(env, file, to_run=True, sessions=["a"]).startswith("--config: ")
    assert [line.split(":")[0] for line in mistakes({**env, "MIX_BRIDGE_LOG__LEVEL": "x"}, file)] == [
        "--config",
        "log.level",
    ]


def test_an_invalid_table_causes_no_further_mistakes():
    assert mistake({"MIX_BRIDGE_SERVERS": "{"}, set={"kafka.bootstrap_servers": "a:1"}, to_run=True)
    assert mistake({**LOCAL, "MIX_BRIDGE_KAFKA": "{"}, to_run=True)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"\n"])
def test_a_secrets_file_without_usable_text_is_an_error_that_names_it(secrets, content):
    directory = secrets()
    (directory / "http__token").write_bytes(content)
    assert mistake(secrets_dir=directory).startswith(f"http__token: cannot read {directory / 'http__token'}")


def test_a_missing_secrets_directory_is_an_error(tmp_path):
    assert mistake(secrets_dir=tmp_path / "none").startswith(f"--secrets-dir: cannot read {tmp_path / 'none'}: No such")
    assert mistake({"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}).startswith("CREDENTIALS_DIRECTORY: cannot read")


def test_a_missing_or_broken_toml_file_is_an_error_that_names_it(tmp_path):
    file = tmp_path / "bridge.toml"
    assert mistake(toml=file).startswith(f"--config: cannot read {file}: No such file")
    assert mistake({"MIX_BRIDGE_CONFIG": str(file)}).startswith("MIX_BRIDGE_CONFIG: cannot read")
    file.write_text("[http]\ntoken = hunter2")
    line = mistake(toml=file)
    assert line.startswith(f"--config: {file} is not TOML: ")
    assert "line 2" in line
    assert "hunter2" not in line
    file.write_bytes(b"\xff")
    assert mistake(toml=file).startswith(f"--config: {file} is not UTF-8")


def test_variable_names_are_the_path_in_capitals():
    assert variable(("kafka", "bootstrap_servers")) == "MIX_BRIDGE_KAFKA__BOOTSTRAP_SERVERS"
    assert loaded({"MIX_BRIDGE_KAFKA__BOOTSTRAP_SERVERS": "a:1"}).kafka.bootstrap_servers == "a:1"


@pytest.mark.parametrize("name", ["MIX_BRIDGE_kafka__compression", "MIX_BRIDGE_Kafka__Compression"])
def test_variables_must_be_in_capitals(name):
    assert mistake({name: "zstd"}).startswith(f"{name}: unknown key; nearest known key: kafka.compression")


@pytest.mark.parametrize("name", ["mix_bridge_http__port", "MIX_BRIDGE", "MIXBRIDGE_X", "HTTP_PROXY", "X_MIX_BRIDGE_X"])
def test_other_variables_are_ignored(name):
    assert loaded({name: "?"}) == loaded()


def test_lists_take_json_or_commas():
    for text in ('["a","b"]', "a,b", " a , b "):
        assert loaded({**LOCAL, "MIX_BRIDGE_SERVERS__LOCAL__SESSIONS": text}).servers["local"].sessions == ("a", "b")
    settings = loaded({"MIX_BRIDGE_KAFKA__BOOTSTRAP_SERVERS": '["a:1", "[::1]:2"]'})
    assert settings.kafka.bootstrap_servers == "a:1,[::1]:2"


def test_lists_of_tables_take_json():
    routes = '[{"match": "tool_*", "topic": "mix.tools"}, {"match": "*", "topic": "mix.local", "server": "local"}]'
    first, second = loaded({**LOCAL, "MIX_BRIDGE_TOPICS__ROUTES": routes}).topics.routes
    assert (first.match, first.topic, first.server) == ("tool_*", "mix.tools", None)
    assert second.server == "local"


def test_routes_come_from_toml_as_tables(toml):
    file = toml('[[topics.routes]]\nmatch = "a"\ntopic = "t.a"\n[[topics.routes]]\nmatch = "b"\ntopic = "t.b"')
    assert [route.topic for route in loaded(toml=file).topics.routes] == ["t.a", "t.b"]


def test_durations_and_sizes_come_as_text_or_plain_numbers(toml):
    file = toml(
        'start_timeout = 1.5\n[delivery]\ncheckpoint_interval = "500ms"\nmax_buffer_bytes = 4194304\n'
        '[events]\nmax_bytes = "1MiB"'
    )
    settings = loaded({"MIX_BRIDGE_DELIVERY__DRAIN_TIMEOUT": "2m"}, file)
    assert (settings.start_timeout, settings.delivery.checkpoint_interval, settings.delivery.drain_timeout) == (
        1.5,
        0.5,
        120.0,
    )
    assert (settings.delivery.max_buffer_bytes, settings.events.max_bytes) == (4194304, 1048576)


def test_none_unsets_an_optional_value(toml):
    file = toml(f'[servers.local]\nurl = "{URL}"\nproxy = "http://p:1"\ncreated_within = "24h"\n[http]\nport = "none"')
    env = {"MIX_BRIDGE_SERVERS__LOCAL__PROXY": "none", "MIX_BRIDGE_SERVERS__LOCAL__CREATED_WITHIN": "none"}
    settings = loaded(env, file)
    assert (settings.servers["local"].proxy, settings.servers["local"].created_within, settings.http.port) == (
        None,
        None,
        None,
    )


def test_underscores_mean_dots_in_properties_and_hyphens_in_headers():
    env = {
        **LOCAL,
        "MIX_BRIDGE_KAFKA__PROPERTIES__SOCKET_KEEPALIVE_ENABLE": "true",
        "MIX_BRIDGE_SERVERS__LOCAL__HEADERS__X_API_KEY": "k",
        "MIX_BRIDGE_TOPICS__CONFIG__RETENTION_MS": "1000",
    }
    settings = loaded(env)
    assert list(settings.kafka.properties) == ["socket.keepalive.enable"]
    assert list(settings.servers["local"].headers) == ["x-api-key"]
    assert settings.topics.config == {"retention.ms": "1000"}


def test_dotted_names_may_be_quoted_or_nested_in_toml(toml):
    file = toml(
        '[kafka.properties]\n"client.id" = "a"\nsocket.keepalive.enable = true\nlog_level = 7\n'
        "[topics.config]\nretention.ms = 1000"
    )
    settings = loaded(toml=file)
    properties = {name: value.get_secret_value() for name, value in settings.kafka.properties.items()}
    assert properties == {"client.id": "a", "socket.keepalive.enable": "true", "log_level": "7"}
    assert settings.topics.config == {"retention.ms": "1000"}


def test_server_names_of_variables_are_in_lower_case():
    assert list(loaded({"MIX_BRIDGE_SERVERS__EU_WEST_1__URL": URL}).servers) == ["eu_west_1"]


def test_a_hyphen_in_a_server_name_comes_from_toml_json_or_options(toml):
    assert "my-box" in loaded(toml=toml(f'[servers.my-box]\nurl = "{URL}"')).servers
    assert "my-box" in loaded({"MIX_BRIDGE_SERVERS": f'{{"my-box": {{"url": "{URL}"}}}}'}).servers
    assert "my-box" in loaded(set={"servers.my-box.url": URL}).servers
    assert "my-box" in loaded(servers={"my-box": URL}).servers
    assert mistake({"MIX_BRIDGE_SERVERS__MY-BOX__URL": URL}).startswith(
        "MIX_BRIDGE_SERVERS__MY-BOX__URL: a server name with -"
    )


@pytest.mark.parametrize("name", ["Local", "a.b", "-a", "a-", "a--b", "a__b", "_a", "ä", "", "a b"])
def test_other_server_names_are_refused(toml, name):
    line = mistake(toml=toml(f'[servers."{name}"]\nurl = "{URL}"'))
    assert line.startswith(f"servers.{name}: {name!r} is not a server name; allowed: lower-case letters and digits")


def test_a_single_variable_wins_over_a_table():
    env = {
        "MIX_BRIDGE_SERVERS": f'{{"local": {{"url": "{URL}", "sessions": ["a"]}}}}',
        "MIX_BRIDGE_SERVERS__LOCAL__SESSIONS": "b",
    }
    assert loaded(env).servers["local"].sessions == ("b",)
    assert loaded({"MIX_BRIDGE_SERVERS__LOCAL": f'{{"url": "{URL}"}}'}).servers["local"].url.public == URL


def test_a_mistake_below_an_empty_table_is_one_line():
    """The table stays empty while the mistake is taken out of the tree."""
    env = {"MIX_BRIDGE_SERVERS__LOCAL": "{}", "MIX_BRIDGE_SERVERS__LOCAL__URL": "nowhere"}
    assert mistake(env).startswith("servers.local.url: 'nowhere' does not begin with")
    assert loaded(env | LOCAL).servers["local"].url.public == URL


def test_null_in_json_means_not_given():
    env = {"MIX_BRIDGE_SERVERS": f'{{"local": {{"url": "{URL}", "token": null, "read_timeout": null}}}}'}
    assert loaded(env).servers["local"].read_timeout == 150


def test_an_empty_text_is_an_empty_list():
    settings = loaded(LOCAL, set={"topics.routes": "", "servers.local.sessions": ""})
    assert (settings.topics.routes, settings.servers["local"].sessions) == ((), ())


def test_an_invalid_table_is_not_shown():
    line = mistake({"MIX_BRIDGE_SERVERS": '{"local": {"token": "hunter2"'})
    assert line.startswith("servers: is not JSON; allowed: a JSON object (from MIX_BRIDGE_SERVERS)")
    assert "hunter2" not in line
    assert mistake({"MIX_BRIDGE_SERVERS": "[]"}).startswith("servers: is not a table of settings")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIX_BRIDGE_SERVICE_HOST", "10.0.0.1"),
        ("MIX_BRIDGE_SERVICE_PORT", "8090"),
        ("MIX_BRIDGE_SERVICE_PORT_HTTP", "8090"),
        ("MIX_BRIDGE_PORT_8090_TCP", "tcp://10.0.0.1:8090"),
        ("MIX_BRIDGE_PORT_8090_TCP_ADDR", "10.0.0.1"),
        ("MIX_BRIDGE_PORT", "tcp://10.0.0.1:8090"),
        ("MIX_BRIDGE_PORT", "udp://10.0.0.1:8090"),
        ("MIX_BRIDGE_PORT", "sctp://10.0.0.1:8090"),
    ],
)
def test_variables_that_kubernetes_injects_are_ignored(name, value):
    assert loaded({name: value}) == loaded()


@pytest.mark.parametrize(
    "service",
    [
        *("MIX_BRIDGE", "MIX_BRIDGE_METRICS", "MIX_BRIDGE_KAFKA", "MIX_BRIDGE_HTTP", "MIX_BRIDGE_2"),
        *("MIX_BRIDGE_KAFKA_PORT", "MIX_BRIDGE_SERVICE", "MIX_BRIDGE_NAMESPACE", "MIX_BRIDGE_CONFIG"),
        *("MIX_BRIDGE_SERVERS", "MIX_BRIDGE__X"),
    ],
)
def test_the_variables_of_any_service_whose_name_begins_like_ours_are_ignored(service):
    """All that Kubernetes makes of it: with an unnamed port, named ports and each protocol."""
    address = "10.96.0.7"
    injected = {
        f"{service}_SERVICE_HOST": address,
        f"{service}_SERVICE_PORT": "80",
        f"{service}_SERVICE_PORT_HTTP": "80",
        f"{service}_SERVICE_PORT_HTTP_ALT_2": "8080",
        f"{service}_PORT": f"tcp://{address}:80",
    }
    for number, protocol in ((80, "TCP"), (8080, "TCP"), (53, "UDP"), (7, "SCTP")):
        port = f"{service}_PORT_{number}_{protocol}"
        injected |= {port: f"{protocol.lower()}://{address}:{number}", f"{port}_PROTO": protocol.lower()}
        injected |= {f"{port}_PORT": str(number), f"{port}_ADDR": address}
    assert loaded(injected) == loaded()


def test_a_setting_is_never_taken_for_a_variable_of_a_service():
    """Header names may look like one."""
    env = {**LOCAL, "MIX_BRIDGE_SERVERS__LOCAL__HEADERS__X_SERVICE_HOST": "one"}
    assert loaded(env).servers["local"].headers["x-service-host"].get_secret_value() == "one"
    assert mistake({"MIX_BRIDGE_HTTP__PORT": "tcp://10.0.0.1:80"}).startswith("http.port: ")


@pytest.mark.parametrize("key", all_keys(), ids=lambda key: key.dotted)
def test_an_empty_variable_counts_as_not_set(key, toml):
    """For each key: the value of a weaker source stays, or the default."""
    path = tuple("local" if segment == "*" else segment for segment in key.path)
    file = toml(f'namespace = "other"\ninstance = "one"\n[servers.local]\nurl = "{URL}"\nstart_after_id = "5"')
    assert loaded({variable(path): ""}, file) == loaded({}, file)
    assert loaded({variable(path): ""}) == loaded()


def test_an_empty_variable_of_a_table_counts_as_not_set():
    empty = dict.fromkeys(("MIX_BRIDGE_SERVERS", "MIX_BRIDGE_SERVERS__LOCAL", "MIX_BRIDGE_HTTP"), "")
    assert loaded(LOCAL | empty) == loaded(LOCAL)


def test_an_unknown_name_is_an_error_even_if_it_is_empty():
    assert mistake({"MIX_BRIDGE_INSTANSE": ""}).startswith(
        "MIX_BRIDGE_INSTANSE: unknown key; nearest known key: instance"
    )


def test_settings_show_names_empty_variables():
    shown = list(as_lines(load_all({}, {"MIX_BRIDGE_INSTANCE": "", "MIX_BRIDGE_NAMESPACE": "x"})))
    assert [line for line in shown if "MIX_BRIDGE_INSTANCE" in line] == [
        "MIX_BRIDGE_INSTANCE is empty: it counts as not set"
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIX_BRIDGE_PORT", "8090"),
        ("MIX_BRIDGE_PORT", "http://x"),
        ("MIX_BRIDGE_SERVICE", "x"),
        ("MIX_BRIDGE_PORT_80", "x"),
    ],
)
def test_variables_that_only_look_like_kubernetes_ones_are_errors(name, value):
    assert mistake({name: value}).startswith(f"{name}: unknown key; nearest known key: ")


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("kafka.compresion", "kafka.compression"),
        ("kafka.bootstrap_server", "kafka.bootstrap_servers"),
        ("kafka.bootstrap-servers", "kafka.bootstrap_servers"),
        ("kafka_bootstrap_servers", "kafka.bootstrap_servers"),
        ("bootstrap_servers", "kafka.bootstrap_servers"),
        ("kafka.properties", None),
        ("delivery.max_inflight", "delivery.max_in_flight"),
        ("servers.local.tokn", "servers.local.token"),
        ("server.local.url", "servers.local.url"),
        ("topics.partition", "topics.partitions"),
        ("port", "http.port"),
        ("topic.events", "topics.events"),
        ("Namespace", "namespace"),
        ("kafka.compression.type", "kafka.compression"),
        ("servres", "servers"),
        ("servres.local.url", "servers.local.url"),
        ("servres.local.tokn", "servers.local.token"),
        ("kafka.propertis.client.id", "kafka.properties.client.id"),
        ("http_port", "http.port"),
        ("events_skip", "events.skip"),
        ("topics_shards", "topics.shards"),
        ("servers_local.url", "servers.local.url"),
        ("servers_local_url", "servers.local.url"),
        ("servers_my_own_connect_timeout", "servers.my_own.connect_timeout"),
    ],
)
def test_an_unknown_key_names_the_nearest_one(path, nearest):
    lines = mistakes(set={path: "hunter2"})
    if nearest is None:
        assert lines[0].startswith("kafka.properties: is not JSON")
    else:
        assert f"{path}: unknown key; nearest known key: {nearest} (MIX_BRIDGE_" in lines[0]
    assert "hunter2" not in "".join(lines)


def test_unknown_keys_in_toml_are_errors_at_every_depth(toml):
    file = toml(
        f'namspace = "s3cret"\n[servers.local]\nurl = "{URL}"\ntokn = "s3cret"\n'
        '[kafka]\nx = { y = "s3cret" }\n[oops]\n'
    )
    lines = mistakes(toml=file)
    assert [line.split(":")[0] for line in lines] == ["servers.local.tokn", "kafka.x", "namspace", "oops"]
    assert all("unknown key; nearest known key: " in line and str(file) in line for line in lines)
    assert "s3cret" not in "".join(lines)


def test_a_misspelt_table_names_the_nearest_key_on_its_level(toml):
    file = toml(f'[servres.local]\nurl = "{URL}"\n[topics.cofnig]\n"retention.ms" = 1\n')
    assert [line.split(" (")[0] for line in mistakes(toml=file)] == [
        "topics.cofnig: unknown key; nearest known key: topics.config",
        "servres: unknown key; nearest known key: servers",
    ]


def test_a_misspelt_variable_names_the_nearest_key_on_each_level():
    line = mistake({"MIX_BRIDGE_SERVRES__LOCAL__TOKN": "hunter2"})
    assert "nearest known key: servers.local.token (MIX_BRIDGE_SERVERS__LOCAL__TOKEN)" in line
    assert "hunter2" not in line


def test_every_misspelt_key_names_the_right_one():
    for key in all_keys():
        path = tuple("local" if segment == "*" else segment for segment in key.path)
        if not key.open:
            misspelt = ".".join((*path[:-1], path[-1] + "z"))
            assert f"nearest known key: {'.'.join(path)}" in mistakes(set={misspelt: "1"})[0]


def test_servers_of_options_replace_those_of_all_other_sources(toml):
    file = toml(f'[servers.other]\nurl = "{URL}"\ntoken = "t"\n[servers.local]\nurl = "{URL}"\nread_timeout = "1s"')
    env = {"MIX_BRIDGE_SERVERS__LOCAL__TOKEN": "of-another-server"}
    settings = loaded(env, file, servers={"local": "http://h:1"}, set={"servers.local.connect_timeout": "1s"})
    assert list(settings.servers) == ["local"]
    local = settings.servers["local"]
    assert (local.url.public, local.token, local.read_timeout, local.connect_timeout) == (
        "http://h:1",
        None,
        150.0,
        1.0,
    )


def test_sessions_of_options_switch_discovery_off(toml):
    file = toml(f'[servers.box]\nurl = "{URL}"\nsessions = ["x"]\ndiscover = true')
    server = loaded(toml=file, sessions=["a", "b"]).servers["box"]
    assert (server.sessions, server.discover) == (("a", "b"), False)


def test_sessions_of_options_require_exactly_one_server():
    line = mistake(sessions=["a"], servers={"one": URL, "two": URL})
    assert line.startswith(
        "--session: needs exactly one server, there are 2; with several use --set servers.NAME.sessions"
    )
    assert mistake(sessions=["a"]).startswith("--session: needs exactly one server, there are 0")


def test_set_accepts_every_key():
    overrides = {
        "servers.local.url": URL,
        "servers.local.sessions": '["a,b"]',
        "servers.local.headers.X-Api-Key": "k",
        "kafka.properties.client.id": "me",
        "topics.config.retention.ms": "5",
        "topics.routes": '[{"match":"*","topic":"t"}]',
        "http.port": "none",
    }
    settings = loaded(set=overrides)
    server = settings.servers["local"]
    assert (server.sessions, list(server.headers)) == (("a,b",), ["x-api-key"])
    assert (list(settings.kafka.properties), settings.topics.config) == (["client.id"], {"retention.ms": "5"})
    assert (settings.topics.routes[0].topic, settings.http.port) == ("t", None)


def test_a_table_given_by_the_caller_is_not_changed():
    headers = {"x-a": "1"}
    loaded(set={"servers.local.url": URL, "servers.local.headers": headers, "servers.local.headers.x-b": "2"})
    assert headers == {"x-a": "1"}


def test_the_tree_is_frozen():
    settings = loaded(LOCAL)
    for group, key in ((settings, "namespace"), (settings.kafka, "compression"), (settings.servers["local"], "url")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(group, key, "x")


def test_a_quoted_key_cannot_break_the_line(toml):
    assert mistake(toml=toml('"a\\nb" = 1')).startswith("a\\nb: unknown key")
