"""Runs Schemathesis against the OpenAPI document of a running gateway.

usage: schemathesis_run.py CASES_PER_OPERATION < JSON of arguments
Prints one JSON object: how many cases, what was answered how often, and the end of the report when a check failed. While it runs, lines
on the error channel that begin with "progress: " say how far it is.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "reached_an_operation",
]

arguments = json.load(sys.stdin)
url = f"https://{arguments['endpoint']}"
with urllib.request.urlopen(f"{url}/openapi.json") as answer:
    paths = json.load(answer)["paths"]
versions = {path.rsplit("/", 1)[-1]: operation["post"]["x-tc-version"] for path, operation in paths.items()}
with tempfile.TemporaryDirectory() as directory:
    seen = pathlib.Path(directory, "seen.json")
    environment = os.environ | {
        "GATEWAY_SECRET_ID": arguments["secret_id"],
        "GATEWAY_SECRET_KEY": arguments["secret_key"],
        "GATEWAY_IDS": json.dumps(arguments["ids"]),
        "GATEWAY_SEEN": str(seen),
        "GATEWAY_VERSIONS": json.dumps(versions),
        "PYTHONPATH": str(pathlib.Path(__file__).parent),
        "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
    }
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--url", url, "--checks", ",".join(CHECKS),
        "--phases", "coverage,fuzzing", "--max-examples", sys.argv[1], "--continue-on-failure", "--no-color",
        "--tls-verify", os.environ["SSL_CERT_FILE"], "--generation-database", "none", "--warnings", "off",
        # The gateway takes a hundred requests a second from one address.
        "--rate-limit", "80/s",
    ]
    output = pathlib.Path(directory, "output.txt")
    complaints = []
    with output.open("w") as file:
        run = subprocess.Popen(command, env=environment, cwd=directory, stdout=file, stderr=subprocess.PIPE, text=True)
        for line in run.stderr:
            if line.startswith("progress: "):
                print(line, end="", file=sys.stderr, flush=True)
            else:
                complaints.append(line)
        failed = run.wait() != 0
    answers = json.loads(seen.read_text()) if seen.exists() else {}
    report = {"cases": sum(answers.values()), "answers": answers, "failed": failed}
    if failed:
        report["output"] = (output.read_text() + "".join(complaints))[-6000:]
print(json.dumps(report))
