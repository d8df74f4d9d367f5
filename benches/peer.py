"""The collector that an administrator would write by hand: Docusign's article "Integrate the Docusign Monitor API into
your SIEM", completed with Splunk's Python SDK. It is here to be measured against, in benches/throughput.rs.

Needs: pip install splunk-sdk pyjwt cryptography requests python-dateutil
"""

import json
import pathlib
import sys
import time

import dateutil.parser
import jwt
import requests
from splunklib.modularinput import Argument, Event, Scheme, Script

PARAMETERS = ["integration_key", "user_id", "private_key_path", "auth_url", "monitor_url", "limit", "start_from"]


class Peer(Script):
    def get_scheme(self):
        scheme = Scheme("Docusign Monitor by hand")
        scheme.use_single_instance = False
        for name in PARAMETERS:
            scheme.add_argument(Argument(name))
        return scheme

    def stream_events(self, inputs, writer):
        [(stanza, settings)] = inputs.inputs.items()
        position = pathlib.Path(inputs.metadata["checkpoint_dir"]) / "peer.cursor"
        cursor = position.read_text() if position.exists() else "2021-01-01T00:00:00Z"
        session = requests.Session()
        session.headers["Authorization"] = "Bearer " + token(settings)
        while True:
            page = session.get(
                settings["monitor_url"] + "/api/v2.0/datasets/monitor/stream",
                params={"cursor": cursor, "limit": settings["limit"]},
            ).json()
            for record in page["data"]:
                event = Event(stanza=stanza, data=json.dumps(record), sourcetype="ds_monitor")
                event.time = dateutil.parser.parse(record["timestamp"]).timestamp()
                writer.write_event(event)
            position.write_text(page["endCursor"])
            if page["endCursor"] == cursor:
                return
            cursor = page["endCursor"]


def token(settings):
    now = int(time.time())
    claims = {
        "iss": settings["integration_key"],
        "sub": settings["user_id"],
        "aud": settings["auth_url"].split("//")[1].split(":")[0],
        "iat": now,
        "exp": now + 3600,
        "scope": "impersonation",
    }
    key = pathlib.Path(settings["private_key_path"]).read_text()
    grant = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": jwt.encode(claims, key, algorithm="RS256"),
    }
    return requests.post(settings["auth_url"] + "/oauth/token", data=grant).json()["access_token"]


if __name__ == "__main__":
    sys.exit(Peer().run(sys.argv))
