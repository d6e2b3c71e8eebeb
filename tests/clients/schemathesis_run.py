"""Runs Schemathesis against the OpenAPI document of a running gateway.

usage: schemathesis_run.py CASES_PER_OPERATION < JSON of arguments
Prints one JSON object: how many cases, what was answered how often, and the end of the report when a check failed.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "reached_an_operation",
]

arguments = json.load(sys.stdin)
with tempfile.TemporaryDirectory() as directory:
    seen = pathlib.Path(directory, "seen.json")
    environment = os.environ | {
        "GATEWAY_SECRET_ID": arguments["secret_id"],
        "GATEWAY_SECRET_KEY": arguments["secret_key"],
        "GATEWAY_IDS": json.dumps(arguments["ids"]),
        "GATEWAY_SEEN": str(seen),
        "PYTHONPATH": str(pathlib.Path(__file__).parent),
        "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
    }
    url = f"https://{arguments['endpoint']}"
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--url", url, "--checks", ",".join(CHECKS),
        "--phases", "coverage,fuzzing", "--max-examples", sys.argv[1], "--continue-on-failure", "--no-color",
        "--tls-verify", os.environ["SSL_CERT_FILE"], "--generation-database", "none", "--warnings", "off",
        # The gateway takes a hundred requests a second from one address.
        "--rate-limit", "80/s",
    ]
    run = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True)
    answers = json.loads(seen.read_text()) if seen.exists() else {}
report = {"cases": sum(answers.values()), "answers": answers, "failed": run.returncode != 0}
if run.returncode != 0:
    report["output"] = (run.stdout + run.stderr)[-6000:]
print(json.dumps(report))
