// Node-RED without editor and logs. What the flow's functions share is in `functionGlobalContext`: it runs as
// compiled code there, which is the fastest way Node-RED has.
const crypto = require("crypto");

const TOLERANCE_S = 300;
const POINTS = [["temperature", "ZN-T", "degC"], ["humidity", "ZN-RH", "percent"]];

// Return whether the raw body is signed with the secret, and lately.
function isSigned(body, header) {
  const parts = Object.fromEntries(String(header).split(",").map((part) => part.split("=")));
  const mac = crypto.createHmac("sha256", process.env.SIGNING_SECRET).update(`${parts.t}.`).update(body).digest();
  const given = Buffer.from(parts.v1 ?? "", "hex");
  const isRecent = Math.abs(Date.now() / 1000 - Number(parts.t)) <= TOLERANCE_S;
  return given.length === mac.length && crypto.timingSafeEqual(mac, given) && isRecent;
}

// Return the MQTT messages of an event: a retained JSON value at QoS 1 for each point.
function toMessages(event) {
  const { assetId, telemetry } = event.data.object;
  const tag = `RM${assetId.slice(4)}`;
  const ts = new Date(event.created * 1000).toISOString();
  return POINTS.filter(([key]) => typeof telemetry[key] === "number").map(([key, point, unit]) => ({
    topic: `gw/v1/bench/${tag}/${point}`,
    payload: JSON.stringify({ value: telemetry[key], unit, quality: "good", ts, event: event.id }),
  }));
}

module.exports = {
  uiHost: "127.0.0.1",
  uiPort: Number(process.env.HTTP_PORT),
  httpAdminRoot: false,
  flowFile: "flow.json",
  credentialSecret: false,
  telemetry: { enabled: false, updateNotification: false },
  mqttReconnectTime: 1000,
  logging: { console: { level: "error" } },
  functionGlobalContext: { isSigned, toMessages },
};
