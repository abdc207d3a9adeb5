// A BACnet client made of @bacnet-js/client or node-bacnet:
//
//     node bacnet_node_process.js LIBRARY OWN DEVICE BROADCAST TIMEOUT
//
// OWN, DEVICE and BROADCAST are `ip:port`, TIMEOUT is in seconds. Lines of JSON on the standard input are requests,
// see bacnet_clients.py; each gets a line on the output. I-Am and notifications are lines as well.

"use strict";

const readline = require("node:readline");
const { promisify } = require("node:util");

const [library, own, device, broadcast, timeout] = process.argv.slice(2);
const [host, port] = own.split(":");
const loaded = require(library);
const client = new (loaded.default ?? loaded)({
  interface: host,
  port: Number(port),
  broadcastAddress: broadcast,
  reuseAddr: false,
  apduTimeout: timeout * 1000,
});

// node-bacnet calls back, @bacnet-js/client returns promises.
function call(method, ...given) {
  const bound = client[method].bind(client);
  return library === "node-bacnet" ? promisify(bound)(...given) : bound(...given);
}

function print(line) {
  const text = JSON.stringify(line, (_, value) =>
    typeof value === "number" && !Number.isFinite(value) ? String(value) : value,
  );
  process.stdout.write(`${text}\n`);
}

function plain(value) {
  if (value?.bitsUsed !== undefined) {
    return Array.from({ length: value.bitsUsed }, (_, bit) => (value.value[bit >> 3] >> (bit & 7)) & 1);
  }
  return value?.instance === undefined ? value : [value.type, value.instance];
}

function values(list) {
  const error = list[0]?.value;
  return error?.errorClass === undefined ? list.map((each) => plain(each.value)) : { error: [error.errorClass, error.errorCode] };
}

function notify(kind) {
  return ({ header, service, invokeId, payload }) => {
    print({
      event: kind,
      process: payload.subscriberProcessId,
      device: plain(payload.initiatingDeviceId),
      object: plain(payload.monitoredObjectId),
      remaining: payload.timeRemaining,
      values: payload.values.map((each) => [each.property.id, values(each.value)]),
    });
    if (kind === "confirmed") client.simpleAckResponse(header.sender, service, invokeId);
  };
}

client.on("covNotify", notify("confirmed"));
client.on("covNotifyUnconfirmed", notify("unconfirmed"));
client.on("iAm", ({ header, payload }) =>
  print({ event: "i-am", address: header.sender.address, device: payload.deviceId, vendor: payload.vendorId }),
);
client.on("error", (error) => print({ event: "failure", text: String(error) }));

const to = { address: device };
const id = ([type, instance]) => ({ type, instance });
const requests = {
  "who-is": ({ broadcast: all, low, high }) => client.whoIs(all ? undefined : to, { lowLimit: low ?? undefined, highLimit: high ?? undefined }),
  read: async ({ object, property, index }) =>
    values((await call("readProperty", to, id(object), property, index === null ? {} : { arrayIndex: index })).values),
  "read-many": async ({ objects }) => {
    const wanted = objects.map(([object, properties]) => ({
      objectId: id(object),
      properties: properties.map((property) => ({ id: property })),
    }));
    const found = await call("readPropertyMultiple", to, wanted, {});
    return found.values.map((each) => [plain(each.objectId), each.values.map((value) => [value.id, values(value.value)])]);
  },
  write: ({ object, property, real }) => call("writeProperty", to, id(object), property, [{ type: 4, value: real }], {}),
  subscribe: ({ object, process: number, cancel, confirmed, lifetime }) =>
    call("subscribeCov", to, id(object), number, cancel, confirmed, lifetime, {}),
};

function refusal(error) {
  const found = /Class:.*?(\d+).*?Code:.*?(\d+)/.exec(error.message) ?? /Reason:(\d+)/.exec(error.message);
  return found ? { error: found.slice(1).map(Number) } : { failure: error.message };
}

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const request = JSON.parse(line);
  try {
    print({ number: request.number, answer: (await requests[request.do](request)) ?? null });
  } catch (error) {
    print({ number: request.number, ...refusal(error) });
  }
}).on("close", () => process.exit());

client.on("listening", () => print({ event: "ready" }));
