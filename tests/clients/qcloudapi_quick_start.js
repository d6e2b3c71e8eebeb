// Drives the quick start of the product through npm `qcloudapi-sdk`, one step per run.
//
// usage: node qcloudapi_quick_start.js STEP METHOD SIGNATURE_METHOD < JSON of arguments
// Prints one JSON object: what the step found, and the actions that it called.

const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");

const Capi = createRequire(`${process.env.GATEWAY_NODE_CLIENTS}/`)("qcloudapi-sdk");
const given = JSON.parse(readFileSync(0, "utf8"));
const [step, method, signature] = process.argv.slice(2);
const options = {
  host: given.endpoint,
  method,
  signatureMethod: signature === "HmacSHA256" ? "sha256" : "sha1",
};
const api = new Capi({ SecretId: given.secret_id, SecretKey: given.secret_key, Region: "gz" });
const called = [];

function call(Action, parameters = {}) {
  called.push(Action);
  return new Promise((resolve, reject) => {
    api.request({ Action, ...parameters }, options, (error, answer) => {
      if (error || answer.code !== 0) reject(new Error(`${Action}: ${error ?? JSON.stringify(answer)}`));
      else resolve(answer);
    });
  });
}

async function waitFor(taskId) {
  for (let round = 0; round < 100; round += 1) {
    const { status } = (await call("DescribeVpcTaskResult", { taskId })).data;
    if (status === 0) return;
    if (status !== 2) throw new Error(`task ${taskId} ended with ${status}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`task ${taskId} does not end`);
}

const steps = {
  async make() {
    const vpcId = given.vpc;
    const { price } = await call("InquiryVpnPrice", { period: 1, bandwidth: 5 });
    const deal = await call("CreateVpn", { name: "gw", vpcId, period: 1, bandwidth: 5 });
    const gateway = (await call("DescribeVpnGw", { dealId: deal.data.dealIds[0] })).data[0];
    const ids = { vpcId, vpnGwId: gateway.unVpnGwId };
    await call("ModifyVpnGw", { vpnGwName: "quick start", ...ids });
    await call("RenewVpn", { period: 1, ...ids });
    const { userGwId } = await call("AddUserGw", { userGwName: "idc", userGwAddr: given.customer_address });
    await call("ModifyUserGw", { userGwId, userGwName: "data centre" });
    const found = (await call("DescribeUserGw", { userGwName: "data" })).data[0];
    if (found.unUserGwId !== userGwId) throw new Error(`${found.unUserGwId} is not ${userGwId}`);
    const { data: made } = await call("AddVpnConn", {
      userGwId,
      vpnConnName: "to the data centre",
      preSharedKey: given.psk,
      spdAcl: JSON.stringify({ [given.local]: [given.peer] }),
      ...ids,
    });
    await waitFor(made.taskId);
    const vendors = (await call("DescribeUserGwVendor")).data;
    const vendor = vendors.find((one) => one.platform === given.platform);
    const file = await call("GetVpnConnConfig", { vpnConnId: made.vpnConnId, interfaceName: "eth0", ...vendor });
    return {
      price,
      gateway: ids.vpnGwId,
      address: gateway.vpnGwAddress,
      customer: userGwId,
      tunnel: made.vpnConnId,
      file: file.data.configFileInfo,
    };
  },

  async look() {
    const ids = { vpcId: given.vpc, vpnGwId: given.gateway, vpnConnId: given.tunnel };
    const one = (await call("DescribeVpnConn", ids)).data[0];
    const points = (await call("DescribeVpnConnMonitor", { metricName: "outtraffic", ...ids })).data;
    return { up: one.netStatus === "available", points: points.length };
  },

  async remove() {
    const ids = { vpcId: given.vpc, vpnGwId: given.gateway };
    const changed = await call("ModifyVpnConn", { vpnConnId: given.tunnel, vpnConnName: "renamed", ...ids });
    await waitFor(changed.data.taskId);
    await call("ResetVpnConnSA", { vpnConnId: given.tunnel, ...ids });
    await waitFor((await call("DeleteVpnConn", { vpnConnId: given.tunnel, ...ids })).data.taskId);
    await call("DeleteUserGw", { userGwId: given.customer });
    await call("DeleteVpnGw", ids);
    return { gateways: (await call("DescribeVpnGw")).totalCount };
  },
};

steps[step]().then(
  (found) => console.log(JSON.stringify({ ...found, actions: called })),
  (error) => {
    console.error(error.message);
    process.exitCode = 1;
  },
);
