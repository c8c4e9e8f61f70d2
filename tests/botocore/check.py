"""Calls the sandbox over HTTP with botocore, as AWS is called: every call that the functions make, errors included.

Each answer is parsed by botocore and held against AWS's service model; each error must have the code, and where it
is modelled the HTTP status, that the model gives it. `check.py SERVER` starts the server, a program that prints one
line of JSON and obeys lines on its standard input. Exit status 0 when all holds.
"""

import datetime
import json
import subprocess
import sys

import botocore.session
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from model import faults_of_names, faults_of_value

SERVICES = ["autoscaling", "ec2", "eks", "elbv2", "events", "sqs", "sts"]


class Server:
    """The sandbox's server, as a child."""

    def __init__(self, program):
        pipe = subprocess.PIPE
        self.child = subprocess.Popen([program], stdin=pipe, stdout=pipe, text=True)
        self.facts = json.loads(self.child.stdout.readline())

    def tell(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline().strip()
        assert answer == "ok", f"{line}: {answer}"

    def stop(self):
        self.child.stdin.close()
        return self.child.wait(timeout=10)


class Check:
    """All calls, and what was found wrong with their answers."""

    def __init__(self, server):
        self.server = server
        self.facts = server.facts
        self.faults = []
        self.made = set()
        self.raw = None
        self.clients = self.make_clients(self.facts["key"])

    def make_clients(self, key, secret=None):
        session = botocore.session.Session()
        clients = {}
        for name in SERVICES:
            client = session.create_client(
                name,
                region_name=self.facts["region"],
                endpoint_url=self.facts["url"],
                aws_access_key_id=key["id"],
                aws_secret_access_key=secret or key["secret"],
                aws_session_token="a-session",
                config=Config(retries={"max_attempts": 0}, parameter_validation=True),
            )
            client.meta.events.register("before-parse", self.keep)
            clients[name] = client
        return clients

    def keep(self, response_dict, **_):
        body = response_dict["body"]
        self.raw = body if isinstance(body, bytes) else body.encode()

    def fault(self, where, what):
        self.faults.append(f"{where}: {what}")

    def expect(self, where, found, wanted):
        if found != wanted:
            self.fault(where, f"{found!r} instead of {wanted!r}")

    def call(self, service, action, clients=None, **parameters):
        """A call that must succeed: what botocore made of the answer, held against the model."""
        client = (clients or self.clients)[service]
        model = client.meta.service_model
        method = next(name for name, api in client.meta.method_to_api_mapping.items() if api == action)
        where = f"{service} {action}"
        self.made.add(where)
        answer = getattr(client, method)(**parameters)
        metadata = answer.pop("ResponseMetadata")
        self.expect(f"{where} status", metadata["HTTPStatusCode"], 200)
        if not metadata.get("RequestId"):
            self.fault(where, "no request id")
        shape = model.operation_model(action).output_shape
        if shape is not None:
            for fault in faults_of_value(shape, answer, action):
                self.fault(service, fault)
        for fault in faults_of_names(model.metadata["protocol"], shape, self.raw, action):
            self.fault(service, fault)
        return answer

    def refused(self, service, action, wanted, clients=None, says="", **parameters):
        """A call that must fail with this code and status; where the code is modelled, the model is asked too."""
        code, status = wanted
        where = f"{service} {action} {code}"
        self.made.add(where)
        client = (clients or self.clients)[service]
        method = next(name for name, api in client.meta.method_to_api_mapping.items() if api == action)
        try:
            getattr(client, method)(**parameters)
        except ClientError as error:
            self.expect(where, error.response["Error"]["Code"], code)
            found = error.response["ResponseMetadata"]["HTTPStatusCode"]
            self.expect(f"{where} status", found, status)
            if says not in error.response["Error"]["Message"]:
                self.fault(where, f"{error.response['Error']['Message']!r} does not say {says!r}")
            self.modelled(where, client.meta.service_model, code, found)
        else:
            self.fault(where, "succeeded")

    def modelled(self, where, model, code, status):
        for shape in model.error_shapes:
            if code in (shape.error_code, shape.metadata.get("error", {}).get("code"), shape.name):
                wanted = shape.metadata.get("error", {}).get("httpStatusCode")
                if wanted is not None:
                    self.expect(f"{where} status by the model", status, wanted)


def planted(check):
    """Faults of each kind are found where they are put."""
    eks, sqs = (check.clients[name].meta.service_model for name in ("eks", "sqs"))
    cluster = eks.operation_model("DescribeCluster").output_shape
    batch = sqs.operation_model("ChangeMessageVisibilityBatch").output_shape
    groups = check.clients["autoscaling"].meta.service_model.operation_model("DescribeLifecycleHooks").output_shape
    rows = [
        ("another type", faults_of_value(cluster, {"cluster": {"name": 7}}, "")),
        ("no value of the enum", faults_of_value(cluster, {"cluster": {"status": "FINE"}}, "")),
        ("required", faults_of_value(batch, {"Successful": [{"Id": "0"}], "Failed": [{"Id": "1", "Code": "C"}]}, "")),
        ("a name in JSON", faults_of_names("rest-json", cluster, b'{"cluster": {"Name": "demo"}}', "")),
    ]
    xml = b"<AResponse><AResult><LifecycleHooks><item/></LifecycleHooks></AResult></AResponse>"
    rows.append(("a name in XML", faults_of_names("query", groups, xml, "A")))
    for what, faults in rows:
        check.expect(f"planted: {what}", len(faults), 1)


def autoscaling(check):
    facts, leaving = check.facts, check.facts["instances"]["leaving"]
    ids = sorted(facts["instances"].values())
    found = check.call("autoscaling", "DescribeAutoScalingInstances", InstanceIds=ids + ["i-0ffffffffffffffff"])
    found = {instance["InstanceId"]: instance for instance in found["AutoScalingInstances"]}
    check.expect("instances of the group", sorted(found), ids)
    check.expect("state", found[leaving]["LifecycleState"], "Terminating:Wait")
    check.expect("group", found[leaving]["AutoScalingGroupName"], facts["group"])
    groups = check.call("autoscaling", "DescribeAutoScalingGroups", AutoScalingGroupNames=[facts["group"]])
    group = groups["AutoScalingGroups"][0]
    check.expect("target groups", group["TargetGroupARNs"], [facts["target_groups"]["tcp"]])
    check.expect("members", sorted(one["InstanceId"] for one in group["Instances"]), ids)
    tags = {tag["Key"]: tag["Value"] for tag in group["Tags"]}
    check.expect("a tag that needs escapes", tags["team"], "a & b <c>")
    without = check.call(
        "autoscaling", "DescribeAutoScalingGroups", AutoScalingGroupNames=[facts["group"]], IncludeInstances=False
    )
    check.expect("left out", without["AutoScalingGroups"][0]["Instances"], [])
    none = check.call("autoscaling", "DescribeAutoScalingGroups", AutoScalingGroupNames=["none"])
    check.expect("unknown groups are left out", none["AutoScalingGroups"], [])
    hooks = check.call("autoscaling", "DescribeLifecycleHooks", AutoScalingGroupName=facts["group"])
    hooks = {hook["LifecycleHookName"]: hook for hook in hooks["LifecycleHooks"]}
    hook = hooks[facts["hooks"]["terminate"]]
    check.expect("transition", hook["LifecycleTransition"], "autoscaling:EC2_INSTANCE_TERMINATING")
    check.expect("timeouts", (hook["HeartbeatTimeout"], hook["GlobalTimeout"]), (3600, 172800))
    check.expect("metadata", hook["NotificationMetadata"], '{"ebbtide":{}}')
    says = {"says": "AutoScalingGroup name not found"}
    refused = ("ValidationError", 400)
    check.refused("autoscaling", "DescribeLifecycleHooks", refused, AutoScalingGroupName="none", **says)


def answers(check):
    """The hook is answered at the very end: its instance leaves."""
    facts = check.facts
    action = {
        "LifecycleHookName": facts["hooks"]["terminate"],
        "AutoScalingGroupName": facts["group"],
        "LifecycleActionToken": facts["token"],
    }
    check.call("autoscaling", "RecordLifecycleActionHeartbeat", **action)
    refused = ("ValidationError", 400)
    bad = {**action, "LifecycleActionResult": "PERHAPS"}
    check.refused("autoscaling", "CompleteLifecycleAction", refused, **bad)
    check.call("autoscaling", "CompleteLifecycleAction", **action, LifecycleActionResult="CONTINUE")
    says = "No active Lifecycle Action found with token " + facts["token"]
    again = {**action, "LifecycleActionResult": "CONTINUE"}
    check.refused("autoscaling", "CompleteLifecycleAction", refused, says=says, **again)
    check.refused("autoscaling", "RecordLifecycleActionHeartbeat", refused, says=says, **action)


def ec2(check):
    facts = check.facts
    spot, retiring = facts["instances"]["spot"], facts["instances"]["retiring"]
    by_id = [{"Name": "instance-id", "Values": [spot, retiring, "i-0ffffffffffffffff"]}]
    found = check.call("ec2", "DescribeInstances", Filters=by_id, MaxResults=1000)
    found = [one for reservation in found["Reservations"] for one in reservation["Instances"]]
    found = {one["InstanceId"]: one for one in found}
    check.expect("by id", sorted(found), [spot, retiring])
    check.expect("state", found[spot]["State"], {"Code": 16, "Name": "running"})
    check.expect("lifecycle", found[spot].get("InstanceLifecycle"), "spot")
    check.expect("tags", found[spot]["Tags"], [{"Key": "Name", "Value": '"spot" & more'}])
    age = datetime.datetime.now(datetime.timezone.utc) - found[spot]["LaunchTime"]
    if not datetime.timedelta(0) <= age < datetime.timedelta(hours=1):
        check.fault("LaunchTime", f"{age} ago")
    first = check.call("ec2", "DescribeInstances", MaxResults=5)
    check.expect("all", len(first["Reservations"]), 3)
    by_reservation = [{"Name": "capacity-reservation-id", "Values": [facts["reservation"]]}]
    found = check.call("ec2", "DescribeInstances", Filters=by_reservation)
    found = [one["InstanceId"] for reservation in found["Reservations"] for one in reservation["Instances"]]
    check.expect("by reservation", found, [spot])
    both = {"InstanceIds": [spot, retiring], "IncludeAllInstances": True}
    found = check.call("ec2", "DescribeInstanceStatus", **both)
    statuses = {one["InstanceId"]: one for one in found["InstanceStatuses"]}
    check.expect("status", statuses[spot]["InstanceStatus"]["Status"], "ok")
    check.expect("no event", statuses[spot].get("Events", []), [])
    check.expect("event", [event["Code"] for event in statuses[retiring]["Events"]], ["instance-retirement"])
    check.call("ec2", "DescribeSpotInstanceRequests")
    unknown = ["i-0ffffffffffffffff"]
    refused = ("InvalidInstanceID.NotFound", 400)
    check.refused("ec2", "DescribeInstanceStatus", refused, says=unknown[0], InstanceIds=unknown)
    refused = ("InvalidInstanceID.Malformed", 400)
    check.refused("ec2", "DescribeInstanceStatus", refused, InstanceIds=["web"])
    filters = [{"Name": "no-such-filter", "Values": ["1"]}]
    check.refused("ec2", "DescribeInstances", ("InvalidParameterValue", 400), Filters=filters)


def elbv2(check):
    facts, spot = check.facts, check.facts["instances"]["spot"]
    web, tcp = facts["target_groups"]["web"], facts["target_groups"]["tcp"]
    groups = check.call("elbv2", "DescribeTargetGroups", TargetGroupArns=[web, tcp])["TargetGroups"]
    groups = {group["TargetGroupName"]: group for group in groups}
    check.expect("protocols", [groups[name]["Protocol"] for name in ("web", "tcp")], ["HTTP", "TCP"])
    attributes = check.call("elbv2", "DescribeTargetGroupAttributes", TargetGroupArn=web)["Attributes"]
    attributes = {attribute["Key"]: attribute["Value"] for attribute in attributes}
    check.expect("delay", attributes["deregistration_delay.timeout_seconds"], "1")

    def state():
        health = check.call("elbv2", "DescribeTargetHealth", TargetGroupArn=web)["TargetHealthDescriptions"]
        return {one["Target"]["Id"]: (one["Target"]["Port"], one["TargetHealth"]["State"]) for one in health}

    check.expect("healthy", state()[spot], (30080, "healthy"))
    target = [{"Id": spot, "Port": 30080}]
    check.call("elbv2", "DeregisterTargets", TargetGroupArn=web, Targets=target)
    check.expect("draining", state().get(spot), (30080, "draining"))
    check.call("elbv2", "RegisterTargets", TargetGroupArn=web, Targets=target)
    if state()[spot][1] not in ("initial", "healthy"):
        check.fault("registered again", state()[spot])
    none = web.replace("/web/", "/none/")
    refused = ("TargetGroupNotFound", 400)
    for action in ("DescribeTargetHealth", "DescribeTargetGroupAttributes"):
        check.refused("elbv2", action, refused, TargetGroupArn=none)
    check.refused("elbv2", "DescribeTargetGroups", refused, TargetGroupArns=[none])
    for action in ("RegisterTargets", "DeregisterTargets"):
        check.refused("elbv2", action, refused, TargetGroupArn=none, Targets=target)
    unknown = [{"Id": "i-0ffffffffffffffff", "Port": 30080}]
    check.refused("elbv2", "RegisterTargets", ("InvalidTarget", 400), TargetGroupArn=web, Targets=unknown)


def sqs(check):
    url, dead = check.facts["queue_url"], check.facts["dead_letter_url"]
    found = check.call("sqs", "GetQueueUrl", QueueName=dead.rsplit("/", 1)[-1])
    check.expect("url", found["QueueUrl"], dead)
    attributes = check.call("sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
    check.expect("visibility", attributes["VisibilityTimeout"], "90")
    reason = {"reason": {"DataType": "String", "StringValue": "no <hook> & no \"node\""}}
    sent = check.call("sqs", "SendMessage", QueueUrl=dead, MessageBody="a body", MessageAttributes=reason)
    parameters = {"QueueUrl": dead, "MaxNumberOfMessages": 10, "VisibilityTimeout": 30}
    names = {"MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]}
    messages = check.call("sqs", "ReceiveMessage", **parameters, **names)["Messages"]
    check.expect("received", [one["MessageId"] for one in messages], [sent["MessageId"]])
    check.expect("attribute", messages[0]["MessageAttributes"], reason)
    check.expect("count", messages[0]["Attributes"]["ApproximateReceiveCount"], "1")
    receipt = messages[0]["ReceiptHandle"]
    entries = [
        {"Id": "0", "ReceiptHandle": receipt, "VisibilityTimeout": 20},
        {"Id": "1", "ReceiptHandle": "none", "VisibilityTimeout": 20},
        {"Id": "2", "ReceiptHandle": receipt, "VisibilityTimeout": 43201},
    ]
    changed = check.call("sqs", "ChangeMessageVisibilityBatch", QueueUrl=dead, Entries=entries)
    check.expect("changed", [one["Id"] for one in changed["Successful"]], ["0"])
    failed = [(one["Id"], one["Code"], one["SenderFault"]) for one in changed["Failed"]]
    wanted = [("1", "ReceiptHandleIsInvalid", True), ("2", "InvalidParameterValue", True)]
    check.expect("not changed", failed, wanted)
    check.call("sqs", "ChangeMessageVisibility", QueueUrl=dead, ReceiptHandle=receipt, VisibilityTimeout=0)
    refused = ("AWS.SimpleQueueService.MessageNotInflight", 400)
    stale = {"QueueUrl": dead, "ReceiptHandle": receipt, "VisibilityTimeout": 5}
    check.refused("sqs", "ChangeMessageVisibility", refused, **stale)
    none = check.call("sqs", "ReceiveMessage", QueueUrl=dead)["Messages"]
    check.call("sqs", "DeleteMessage", QueueUrl=dead, ReceiptHandle=none[0]["ReceiptHandle"])
    empty = check.call("sqs", "ReceiveMessage", QueueUrl=dead)
    check.expect("an empty queue has no list", empty, {})
    refused = ("AWS.SimpleQueueService.NonExistentQueue", 400)
    nowhere = {"QueueUrl": dead + "-none"}
    check.refused("sqs", "SendMessage", refused, MessageBody="a body", **nowhere)
    check.refused("sqs", "ChangeMessageVisibilityBatch", refused, Entries=entries, **nowhere)
    twice = [entries[0], entries[0]]
    refused = ("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", 400)
    check.refused("sqs", "ChangeMessageVisibilityBatch", refused, QueueUrl=dead, Entries=twice)
    many = [{**entries[0], "Id": str(index)} for index in range(11)]
    refused = ("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", 400)
    check.refused("sqs", "ChangeMessageVisibilityBatch", refused, QueueUrl=dead, Entries=many)
    refused = ("AWS.SimpleQueueService.EmptyBatchRequest", 400)
    check.refused("sqs", "ChangeMessageVisibilityBatch", refused, QueueUrl=dead, Entries=[])


def eks(check):
    cluster = check.call("eks", "DescribeCluster", name=check.facts["cluster"])["cluster"]
    check.expect("name", (cluster["name"], cluster["status"]), (check.facts["cluster"], "ACTIVE"))
    check.expect("authority", cluster["certificateAuthority"]["data"], "YSBjZXJ0aWZpY2F0ZQ==")
    says = "No cluster found for name: none."
    check.refused("eks", "DescribeCluster", ("ResourceNotFoundException", 404), says=says, name="none")


def events(check):
    entry = {"Source": "ebbtide", "DetailType": "Departure", "Detail": '{"a": 1}', "EventBusName": "default"}
    found = check.call("events", "PutEvents", Entries=[entry, {**entry, "Detail": "no JSON"}])
    check.expect("failed", found["FailedEntryCount"], 1)
    check.expect("each in its place", ["EventId" in found["Entries"][0], found["Entries"][1]["ErrorCode"]], [True, "MalformedDetail"])
    refused = ("ValidationException", 400)
    check.refused("events", "PutEvents", refused, Entries=[entry] * 11)


def sts(check):
    facts = check.facts
    arn = f"arn:aws:sts::{facts['account']}:assumed-role/ebbtide/ebbtide"
    found = check.call("sts", "GetCallerIdentity")
    check.expect("caller", (found["Arn"], found["Account"]), (arn, facts["account"]))
    check.expect("presigned", presigned(check, facts["key"], 0), (200, arn))
    check.expect("presigned ten minutes ago", presigned(check, facts["key"], 600), (200, arn))
    code, text = presigned(check, facts["key"], 901)
    check.expect("presigned too long ago", (code, "Signature expired" in text), (403, True))
    code, text = presigned(check, {**facts["key"], "secret": "another"}, 0)
    check.expect("presigned with another secret", (code, "SignatureDoesNotMatch" in text), (403, True))


def presigned(check, key, age):
    """A GetCallerIdentity that was signed so many seconds ago, as tokens for API servers are."""
    request = AWSRequest(
        "GET",
        check.facts["url"] + "/?Action=GetCallerIdentity&Version=2011-06-15",
        headers={"x-k8s-aws-id": check.facts["cluster"]},
    )
    credentials = Credentials(key["id"], key["secret"], "a-session")
    Signer(credentials, age, check.facts["region"]).add_auth(request)
    answer = URLLib3Session().send(request.prepare())
    check.made.add("sts GetCallerIdentity, presigned")
    text = answer.text
    return answer.status_code, text.split("<Arn>")[1].split("</Arn>")[0] if "<Arn>" in text else text


class Signer(SigV4QueryAuth):
    """Signs as of some time ago, for a minute."""

    def __init__(self, credentials, age, region):
        super().__init__(credentials, "sts", region, expires=60)
        self.age = datetime.timedelta(seconds=age)

    def add_auth(self, request):
        # botocore asks the clock itself, and offers no other.
        import botocore.auth as auth

        clock, age = auth.get_current_datetime, self.age
        auth.get_current_datetime = lambda *all_of, **named: clock(*all_of, **named) - age
        try:
            super().add_auth(request)
        finally:
            auth.get_current_datetime = clock


# One call of each service, with the prefix of its actions and what it says when it throttles, fails, or denies.
ONE_OF_EACH = [
    ("autoscaling", "autoscaling:DescribeAutoScalingGroups", {}, ("Throttling", 400), ("InternalFailure", 500), ("AccessDenied", 403)),
    ("ec2", "ec2:DescribeInstances", {}, ("RequestLimitExceeded", 503), ("InternalError", 500), ("UnauthorizedOperation", 403)),
    ("eks", "eks:DescribeCluster", {"name": "demo"}, ("ThrottlingException", 429), ("ServerException", 500), ("AccessDeniedException", 403)),
    ("elbv2", "elasticloadbalancing:DescribeTargetGroups", {}, ("ThrottlingException", 400), ("InternalFailure", 500), ("AccessDenied", 403)),
    ("events", "events:PutEvents", {"Entries": [{"Source": "a"}]}, ("ThrottlingException", 400), ("InternalFailure", 500), ("AccessDeniedException", 400)),
    ("sqs", "sqs:GetQueueUrl", {"QueueName": "ebbtide-dead"}, ("RequestThrottled", 400), ("InternalFailure", 500), ("AccessDenied", 403)),
]

# What each service says to a key that it does not know, one whose session has ended, and another's secret.
IDENTITIES = [
    ("autoscaling", {}, ("InvalidClientTokenId", 403), ("ExpiredToken", 403), ("SignatureDoesNotMatch", 403)),
    ("ec2", {}, ("AuthFailure", 401), ("RequestExpired", 400), ("AuthFailure", 401)),
    ("eks", {"name": "demo"}, ("UnrecognizedClientException", 403), ("ExpiredTokenException", 403), ("InvalidSignatureException", 403)),
    ("elbv2", {}, ("InvalidClientTokenId", 403), ("ExpiredToken", 403), ("SignatureDoesNotMatch", 403)),
    ("events", {"Entries": [{"Source": "a"}]}, ("UnrecognizedClientException", 400), ("ExpiredTokenException", 400), ("InvalidSignatureException", 400)),
    ("sqs", {"QueueName": "ebbtide-dead"}, ("InvalidClientTokenId", 403), ("ExpiredToken", 403), ("SignatureDoesNotMatch", 403)),
    ("sts", {}, ("InvalidClientTokenId", 403), ("ExpiredToken", 403), ("SignatureDoesNotMatch", 403)),
]


def troubles(check):
    for service, name, parameters, throttled, failed, denied in ONE_OF_EACH:
        action = name.split(":")[1]
        check.server.tell(f"throttle {name}")
        check.refused(service, action, throttled, **parameters)
        check.server.tell(f"break {name}")
        check.refused(service, action, failed, **parameters)
        check.server.tell(f"deny {name}")
        who = f"User: arn:aws:sts::{check.facts['account']}:assumed-role/ebbtide/ebbtide is not authorized to perform: "
        said = name.lower() if service == "sqs" else name
        check.refused(service, action, denied, says=who + said, **parameters)
        check.server.tell(f"allow {name}")
        check.call(service, action, **parameters)


def identities(check):
    unknown = check.make_clients({"id": "ASIANOBODY0000000000", "secret": "none"})
    expired = check.make_clients(check.facts["expired"])
    mistaken = check.make_clients(check.facts["key"], secret="another")
    actions = {service: name.split(":")[1] for service, name, *_ in ONE_OF_EACH} | {"sts": "GetCallerIdentity"}
    for service, parameters, *codes in IDENTITIES:
        for clients, code in zip((unknown, expired, mistaken), codes):
            check.refused(service, actions[service], code, clients=clients, **parameters)


def main():
    server = Server(sys.argv[1])
    check = Check(server)
    try:
        for part in (planted, autoscaling, ec2, elbv2, sqs, eks, events, sts, troubles, identities, answers):
            try:
                part(check)
            except Exception as error:  # What one part finds keeps none of the others from looking.
                check.fault(part.__name__, f"{type(error).__name__}: {error}")
    finally:
        if server.stop() != 0:
            check.fault("server", "it failed")
    for fault in check.faults:
        print(f"WRONG  {fault}")
    print(f"botocore {botocore.__version__}: {len(check.made)} different calls, {len(check.faults)} faults")
    return 1 if check.faults else 0


if __name__ == "__main__":
    sys.exit(main())
