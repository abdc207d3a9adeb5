// What a computed point is computed from, and which of these points are not used at present.

import { addressOf, read } from "./address.js";
import { element, pill, table } from "./dom.js";
import { counted, unitText, valueText } from "./format.js";

export function membersOf(now) {
  const { members, members_used: used, members_needed: needed, members_in_all: all } = now;
  const rows = members.map((member) => [
    pointLink(member.point),
    `${valueText(member.value)} ${unitText(member.unit)}`,
    pill(member.quality),
    member.unused_reason ? `not used: ${member.unused_reason}` : "used",
  ]);
  const rest = all > members.length ? `, ${(all - members.length).toLocaleString()} are not listed` : "";
  return element(
    "div",
    {},
    element("p", { className: "soft" }, `${used} of ${counted(all, "point")} used, ${needed} needed${rest}`),
    table(["Member", "Value", "Quality", "Use"], rows, ""),
  );
}

function pointLink(name) {
  const { tab, query } = read();
  query.set("point", name);
  return element("a", { href: addressOf(tab, query) }, name);
}
