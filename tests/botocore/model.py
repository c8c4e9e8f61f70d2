"""Holds an answer against the service model that botocore has from AWS: names, types, required members, enums.

botocore's parsers leave out silently what the model does not know, so the answer's own names are compared too.
"""

import datetime
import json
import xml.etree.ElementTree as ElementTree

TYPES = {
    "string": str,
    "character": str,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "boolean": bool,
    "timestamp": datetime.datetime,
    "blob": bytes,
    "structure": dict,
    "map": dict,
    "list": list,
}


def faults_of_value(shape, value, path):
    """What in a parsed value is not as the model says."""
    wanted = TYPES[shape.type_name]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        return [f"{path}: {value!r} is no {shape.type_name}"]
    faults = []
    if shape.type_name == "structure":
        for name in shape.required_members:
            if name not in value:
                faults.append(f"{path}.{name}: required, and not there")
        for name, member in value.items():
            if name in shape.members:
                faults += faults_of_value(shape.members[name], member, f"{path}.{name}")
    elif shape.type_name == "list":
        for index, member in enumerate(value):
            faults += faults_of_value(shape.member, member, f"{path}[{index}]")
    elif shape.type_name == "map":
        for name, member in value.items():
            faults += faults_of_value(shape.key, name, f"{path}{{key}}")
            faults += faults_of_value(shape.value, member, f"{path}[{name!r}]")
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        faults.append(f"{path}: {value!r} is none of {shape.enum}")
    return faults


def faults_of_names(protocol, shape, body, action):
    """What the answer says that the model does not know."""
    if protocol in ("query", "ec2"):
        root = ElementTree.fromstring(body)
        if local(root) != f"{action}Response":
            return [f"the answer to {action} is a {local(root)}"]
        if protocol == "query":
            inner = [child for child in root if local(child) != "ResponseMetadata"]
            if [local(child) for child in inner] != [f"{action}Result"]:
                return [f"{action}Response holds {[local(child) for child in root]}"]
            return names_of_xml(shape, inner[0], action)
        ids = [child for child in root if local(child) == "requestId"]
        for child in ids:
            root.remove(child)
        return names_of_xml(shape, root, action) + ([] if ids else ["no requestId"])
    return names_of_json(shape, json.loads(body), action) if body else []


def local(element):
    return element.tag.rsplit("}", 1)[-1]


def names_of_xml(shape, element, path):
    if shape is None:
        return [f"{path}: holds {local(child)}" for child in element]
    faults = []
    if shape.type_name == "structure":
        known = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for child in element:
            member = known.get(local(child))
            if member is None:
                faults.append(f"{path}: the model knows no {local(child)}, but {sorted(known)}")
            else:
                faults += names_of_xml(member, child, f"{path}.{local(child)}")
    elif shape.type_name == "list":
        wanted = shape.member.serialization.get("name", "member")
        for child in element:
            if local(child) != wanted:
                faults.append(f"{path}: {local(child)} in place of {wanted}")
            faults += names_of_xml(shape.member, child, f"{path}[]")
    elif len(element):
        faults.append(f"{path}: a {shape.type_name} that holds elements")
    return faults


def names_of_json(shape, value, path):
    if shape is None:
        return [f"{path}: holds {value!r}"] if value else []
    faults = []
    if shape.type_name == "structure" and isinstance(value, dict):
        known = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for name, member in value.items():
            if name not in known:
                faults.append(f"{path}: the model knows no {name}, but {sorted(known)}")
            else:
                faults += names_of_json(known[name], member, f"{path}.{name}")
    elif shape.type_name == "list" and isinstance(value, list):
        for member in value:
            faults += names_of_json(shape.member, member, f"{path}[]")
    elif shape.type_name == "map" and isinstance(value, dict):
        for member in value.values():
            faults += names_of_json(shape.value, member, f"{path}{{}}")
    return faults
