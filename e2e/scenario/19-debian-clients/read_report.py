# SPDX-License-Identifier: Apache-2.0
"""Reads a notification with Debian's own email package under its strict policy, and prints what it found as JSON.

Any defect of form, in the message or in a part of it, is an exception and ends the program with status 1."""

import email.parser
import email.policy
import json
import sys

with open(sys.argv[1], "rb") as file:
    content = file.read()
policy = email.policy.strict.clone(utf8=True)
# Header fields that are not ASCII (RFC 6532) are read as the text they are; bytes would be taken for a defect.
message = email.parser.Parser(policy=policy).parsestr(content.decode("utf-8"))

found = {"type": message.get_content_type(), "report_type": message.get_param("report-type"), "parts": [], "groups": []}
found["header"] = {name: str(message[name]) for name in ("From", "To", "Subject", "Auto-Submitted", "Message-ID")}
found["to"] = [address.addr_spec for address in message["To"].addresses]
assert message["Date"].datetime is not None and len(message["From"].addresses) == 1
for part in message.walk():
    assert not part.defects, (part.get_content_type(), part.defects)
    for name in part.keys():
        # The one thing the package reports without need: a local part that is not ASCII, as RFC 6532 has it.
        defects = [d for d in part[name].defects if type(d).__name__ != "NonASCIILocalPartDefect"]
        assert not defects, (name, defects)
if message.is_multipart():
    for part in message.iter_parts():
        found["parts"].append(part.get_content_type())
    status = list(message.iter_parts())[1]
    groups = status.get_payload()
    if status.get_content_type() == "message/global-delivery-status":  # newer than the package, which reads it as a message
        text = groups[0].as_string().replace("\r\n", "\n").strip()
        groups = [email.parser.Parser(policy=policy).parsestr(group + "\n") for group in text.split("\n\n")]
    for group in groups:
        found["groups"].append({name.lower(): str(value) for name, value in group.items()})
    found["text"] = message.get_body(("plain",)).get_content()
else:
    found["text"] = message.get_content()
json.dump(found, sys.stdout)
