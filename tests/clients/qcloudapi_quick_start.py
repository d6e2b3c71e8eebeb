"""Drives the quick start of the product through PyPI `qcloudapi-sdk-python`, one step per run.

usage: qcloudapi_quick_start.py STEP METHOD SIGNATURE_METHOD < JSON of arguments
Prints one JSON object: what the step found, and the actions that it called.
"""

import json
import sys
import time

from QcloudApi.qcloudapi import QcloudApi

arguments = json.load(sys.stdin)
step, method, signature_method = sys.argv[1:4]
# A module that the SDK does not know takes its host from the configuration.
api = QcloudApi("ipsecgw", {
    "endpoint": arguments["endpoint"],
    "secretId": arguments["secret_id"],
    "secretKey": arguments["secret_key"],
    "Region": "gz",
    "method": method,
    "SignatureMethod": signature_method,
})
called = []


def call(action, **parameters):
    answer = api.call(action, parameters)
    if isinstance(answer, bytes):
        answer = answer.decode()
    answer = json.loads(answer)
    called.append(action)
    if answer["code"] != 0:
        sys.exit(f"{action}: {answer}")
    return answer


def wait_for(task):
    for _ in range(100):
        status = call("DescribeVpcTaskResult", taskId=task)["data"]["status"]
        if status != 2:
            break
        time.sleep(0.1)
    if status != 0:
        sys.exit(f"task {task} ended with {status}")


def make():
    vpc = arguments["vpc"]
    price = call("InquiryVpnPrice", period=1, bandwidth=5)["price"]
    deal = call("CreateVpn", name="gw", vpcId=vpc, period=1, bandwidth=5)["data"]["dealIds"][0]
    gateway = call("DescribeVpnGw", dealId=deal)["data"][0]
    ids = {"vpcId": vpc, "vpnGwId": gateway["unVpnGwId"]}
    call("ModifyVpnGw", vpnGwName="quick start", **ids)
    call("RenewVpn", period=1, **ids)
    customer = call("AddUserGw", userGwName="idc", userGwAddr=arguments["customer_address"])["userGwId"]
    call("ModifyUserGw", userGwId=customer, userGwName="data centre")
    found = call("DescribeUserGw", userGwName="data")["data"][0]
    if found["unUserGwId"] != customer:
        sys.exit(f"{found} is not {customer}")
    spd = json.dumps({arguments["local"]: [arguments["peer"]]})
    made = call("AddVpnConn", userGwId=customer, vpnConnName="to the data centre", preSharedKey=arguments["psk"],
                spdAcl=spd, **ids)["data"]
    wait_for(made["taskId"])
    vendors = call("DescribeUserGwVendor")["data"]
    vendor = next(one for one in vendors if one["platform"] == arguments["platform"])
    file = call("GetVpnConnConfig", vpnConnId=made["vpnConnId"], interfaceName="eth0", **vendor)
    return {
        "price": price,
        "gateway": ids["vpnGwId"],
        "address": gateway["vpnGwAddress"],
        "customer": customer,
        "tunnel": made["vpnConnId"],
        "file": file["data"]["configFileInfo"],
    }


def look():
    ids = {name: arguments[key] for name, key in [("vpcId", "vpc"), ("vpnGwId", "gateway"), ("vpnConnId", "tunnel")]}
    one = call("DescribeVpnConn", **ids)["data"][0]
    points = call("DescribeVpnConnMonitor", metricName="outtraffic", **ids)["data"]
    return {"up": one["netStatus"] == "available", "points": len(points)}


def remove():
    ids = {"vpcId": arguments["vpc"], "vpnGwId": arguments["gateway"]}
    wait_for(call("ModifyVpnConn", vpnConnId=arguments["tunnel"], vpnConnName="renamed", **ids)["data"]["taskId"])
    call("ResetVpnConnSA", vpnConnId=arguments["tunnel"], **ids)
    wait_for(call("DeleteVpnConn", vpnConnId=arguments["tunnel"], **ids)["data"]["taskId"])
    call("DeleteUserGw", userGwId=arguments["customer"])
    call("DeleteVpnGw", **ids)
    return {"gateways": call("DescribeVpnGw")["totalCount"]}


found = {"make": make, "look": look, "remove": remove}[step]()
print(json.dumps({**found, "actions": called}))
