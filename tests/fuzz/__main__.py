"""Runs schemathesis on a sandbox: does every reply, to good calls and to bad ones, keep to the OpenAPI document?

`python -m tests.fuzz [options of "st run"]`; needs the dependency group `fuzz`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
from eth_account import Account
from eth_account.messages import encode_defunct

from alura_async.sandbox import Sandbox

HERE = Path(__file__).parent


def main() -> int:
    """Run it, and give its exit code."""
    # Funds for every withdrawal that comes to its mind; no limit, since a throttled call shows nothing.
    with Sandbox.threaded(seed=7, limit=None, funds=10**12) as sandbox:
        command = [
            str(Path(sys.executable).with_name("st")),
            *("--config-file", str(HERE / "schemathesis.toml")),
            *("run", f"{sandbox.url}/api/docs-json"),
            *sys.argv[1:],
        ]
        code = subprocess.run(command, check=False, env=os.environ | {"SANDBOX_TOKEN": _token(sandbox)}).returncode
        broken = [request for request in sandbox.requests if request.status is None or request.status >= 500]
        print(
            f"{len(sandbox.ledger)} changes of state, {len(broken)} of the last {len(sandbox.requests)} requests broken"
        )
        return code or bool(broken)


def _token(sandbox: Sandbox) -> str:
    key = sandbox.wallet()
    address = Account.from_key(key).address
    message = _post(sandbox, "/auth/evm/challenge", address=address)["message"]
    signature = "0x" + bytes(Account.sign_message(encode_defunct(text=message), key).signature).hex()
    token = _post(sandbox, "/auth/evm/verify", address=address, signature=signature)["accessToken"]
    assert isinstance(token, str)
    return token


def _post(sandbox: Sandbox, path: str, **body: str) -> dict[str, Any]:
    request = urllib.request.Request(
        sandbox.url + path, msgspec.json.encode(body), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return msgspec.json.decode(response.read(), type=dict[str, Any])


if __name__ == "__main__":
    sys.exit(main())
