"""Drives the quick start of the product through PyPI `tencentcloud-sdk-python` (API 3.0), one step per run.

usage: tencentcloud_quick_start.py STEP METHOD SIGNATURE_METHOD < JSON of arguments
Prints one JSON object: what the step found, and the actions that it called.
"""

import json
import os
import sys
import time
import warnings

from tencentcloud.common import credential
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.vpc.v20170312 import models, vpc_client

# The SDK warns of the fields that this gateway adds to the answers.
warnings.simplefilter("ignore")
arguments = json.load(sys.stdin)
step, method, signature_method = sys.argv[1:4]
http = HttpProfile(endpoint=arguments["endpoint"], reqMethod=method, certification=os.environ["SSL_CERT_FILE"])
secrets = credential.Credential(arguments["secret_id"], arguments["secret_key"])
profile = ClientProfile(httpProfile=http, signMethod=signature_method)
client = vpc_client.VpcClient(secrets, "gz", profile)
called = []


def call(action, **parameters):
    request = getattr(models, f"{action}Request")()
    request.from_json_string(json.dumps(parameters))
    answer = getattr(client, action)(request)
    called.append(action)
    return answer


def wait_until(settled):
    for _ in range(100):
        found = call("DescribeVpnConnections", VpnConnectionIds=[arguments["tunnel"]]).VpnConnectionSet
        if settled(found):
            return
        time.sleep(0.1)
    sys.exit(f"the tunnel stays {found[0].State}")


def make():
    period = {"Period": 1, "RenewFlag": "NOTIFY_AND_MANUAL_RENEW"}
    price = call("InquiryPriceCreateVpnGateway", InternetMaxBandwidthOut=5, InstanceChargeType="PREPAID",
                 InstanceChargePrepaid=period).Price.InstancePrice.OriginalPrice
    made = call("CreateVpnGateway", VpcId=arguments["vpc"], VpnGatewayName="gw", InternetMaxBandwidthOut=5,
                InstanceChargeType="PREPAID", InstanceChargePrepaid=period, Tags=[{"Key": "team", "Value": "net"}])
    gateway = made.VpnGateway.VpnGatewayId
    call("ModifyVpnGatewayAttribute", VpnGatewayId=gateway, VpnGatewayName="quick start")
    call("RenewVpnGateway", VpnGatewayId=gateway, InstanceChargePrepaid=period)
    call("ResetVpnGatewayInternetMaxBandwidth", VpnGatewayId=gateway, InternetMaxBandwidthOut=100)
    seen = call("DescribeVpnGateways", VpnGatewayIds=[gateway]).VpnGatewaySet[0]
    customer = call("CreateCustomerGateway", CustomerGatewayName="idc",
                    IpAddress=arguments["customer_address"]).CustomerGateway.CustomerGatewayId
    call("ModifyCustomerGatewayAttribute", CustomerGatewayId=customer, CustomerGatewayName="data centre")
    filters = [{"Name": "customer-gateway-name", "Values": ["data"]}]
    found = call("DescribeCustomerGateways", Filters=filters).CustomerGatewaySet[0].CustomerGatewayId
    if found != customer:
        sys.exit(f"{found} is not {customer}")
    rules = [{"LocalCidrBlock": arguments["local"], "RemoteCidrBlock": [arguments["peer"]]}]
    tunnel = call("CreateVpnConnection", VpcId=arguments["vpc"], VpnGatewayId=gateway, CustomerGatewayId=customer,
                  VpnConnectionName="to the data centre", PreShareKey=arguments["psk"],
                  NegotiationType="flowTrigger", SecurityPolicyDatabases=rules).VpnConnection.VpnConnectionId
    arguments["tunnel"] = tunnel
    wait_until(lambda found: found[0].State == "AVAILABLE")
    vendors = call("DescribeCustomerGatewayVendors").CustomerGatewayVendorSet
    vendor = next(one for one in vendors if one.Platform == arguments["platform"])
    file = call("DownloadCustomerGatewayConfiguration", VpnGatewayId=gateway, VpnConnectionId=tunnel,
                CustomerGatewayVendor=json.loads(vendor.to_json_string()), InterfaceName="eth0")
    return {
        "price": price,
        "gateway": gateway,
        "address": seen.PublicIpAddress,
        "customer": customer,
        "tunnel": tunnel,
        "file": file.CustomerGatewayConfiguration,
    }


def look():
    filters = [{"Name": "vpn-gateway-id", "Values": [arguments["gateway"]]}]
    one = call("DescribeVpnConnections", Filters=filters).VpnConnectionSet[0]
    return {"up": one.NetStatus == "AVAILABLE"}


def remove():
    ids = {"VpnGatewayId": arguments["gateway"], "VpnConnectionId": arguments["tunnel"]}
    call("ModifyVpnConnectionAttribute", VpnConnectionId=arguments["tunnel"], VpnConnectionName="renamed")
    wait_until(lambda found: found[0].State == "AVAILABLE")
    call("ResetVpnConnection", **ids)
    call("DeleteVpnConnection", **ids)
    wait_until(lambda found: not found)
    call("DeleteCustomerGateway", CustomerGatewayId=arguments["customer"])
    call("DeleteVpnGateway", VpnGatewayId=arguments["gateway"])
    return {"gateways": call("DescribeVpnGateways").TotalCount}


def run_calls():
    """Any operations of a service, also those that the SDK has no class for."""
    service = CommonClient(arguments["service"], arguments["version"], secrets, "gz", profile)
    answers, seconds = [], []
    for one in arguments["calls"]:
        begin = time.monotonic()
        answers.append(service.call_json(one["action"], one["body"])["Response"])
        seconds.append(time.monotonic() - begin)
    return {"answers": answers, "seconds": seconds}


found = {"call": run_calls, "make": make, "look": look, "remove": remove}[step]()
print(json.dumps({**found, "actions": called}))
