"""``mix-bridge support-bundle``: everything that somebody who helps needs to see, in one archive without secrets."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge import __version__
from bridge.cli.options import JsonFlag, SettingsOptions, UrlOption
from bridge.cli.output import print_all, print_json
from bridge.cli.status import daemons_of
from bridge.errors import EXIT_OK, EXIT_SETTINGS, EXIT_UNREACHABLE

if TYPE_CHECKING:
    from bridge.settings import Loaded


def support_bundle(
    *,
    options: SettingsOptions,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The archive; default: mix-bridge-support-TIME.tar.gz.")
    ] = None,
    url: UrlOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write versions, masked settings, status, metrics, recent log lines and thread stacks into one archive."""
    loaded = options.load()
    from bridge.admin.status.replicas import parts_of
    from bridge.settings.show import as_document, as_lines

    endpoints, token = daemons_of(url, loaded.settings)
    file = output or Path(f"mix-bridge-support-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar.gz")
    files = {
        "version.txt": f"mix-bridge {__version__}\n".encode(),
        "settings.json": json.dumps(as_document(loaded.settings), indent=2).encode(),
        "settings.txt": "".join(f"{line}\n" for line in as_lines(loaded)).encode(),
    }
    troubles, code = [], EXIT_OK
    for endpoint in endpoints:
        folder = f"{endpoint.host}-{endpoint.port}".replace(":", "_")
        for part in parts_of(endpoint, token):
            if part.content is not None:
                files[f"{folder}/{part.name}"] = part.content
                continue
            troubles.append(f"{endpoint.url}: no {part.name}: {part.trouble}")
            code = EXIT_UNREACHABLE if not part.is_rejected or code == EXIT_UNREACHABLE else EXIT_SETTINGS
    files["missing.txt"] = "".join(f"{line}\n" for line in troubles).encode()
    _write(file, files, loaded)
    if as_json:
        print_json({"ok": code == EXIT_OK, "file": str(file), "missing": troubles})
    else:
        print_all([*troubles, f"wrote {file}: look it over before you send it, it names servers and sessions"])
    raise typer.Exit(code)


def _write(file: Path, files: dict[str, bytes], loaded: Loaded) -> None:
    """Write a new file that only this user can read, completely or not at all, without the secrets of the settings."""
    from bridge.cli.logs import secrets_of, secrets_of_files
    from bridge.observe.logs import Redaction

    secrets = Redaction([*secrets_of(loaded.settings), *secrets_of_files(loaded)])
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise typer.BadParameter(f"cannot write {file}: {error.strerror}", param_hint="--output") from None
    try:
        with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name, content in files.items():
                text = secrets.masked(content.decode(errors="replace")).encode()
                entry = tarfile.TarInfo(f"mix-bridge-support/{name}")
                entry.size, entry.mtime, entry.mode = len(text), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(text))
    except BaseException:
        file.unlink()
        raise
