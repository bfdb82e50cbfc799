// Reads rows of a view from Redis, by what docs/online.md says of the codec `packed` and of its keys, and nothing else.
//
// node packed_reader.mjs HOST PORT PREFIX VIEW < entities.json > rows.json
//
// An entity is a list of its keys' values. A row is null where there is none; its values are texts, lists and nulls:
// whole numbers as digits, floating numbers as the shortest that reads back, binary in hex, decimals with their point.

import { createConnection } from "node:net";
import { readFileSync } from "node:fs";

const EPOCH_DAY = 86_400_000;

function nameOf(entity) {
  return entity.map((value) => value.replaceAll("%", "%25").replaceAll("|", "%7C")).join("|");
}

function widthOf(type) {
  const decimal = /^decimal\((\d+),(\d+)\)$/.exec(type);
  if (decimal) return Number(decimal[1]) <= 18 ? 8 : 16;
  return { boolean: 1, int: 4, date: 4, float: 4, bigint: 8, double: 8, timestamp: 8, timestamp_ntz: 8 }[type] ?? 0;
}

function withPoint(digits, scale) {
  const sign = digits < 0n ? "-" : "";
  const text = (digits < 0n ? -digits : digits).toString().padStart(scale + 1, "0");
  return sign + (scale ? `${text.slice(0, -scale)}.${text.slice(-scale)}` : text);
}

function fixed(bytes, at, type) {
  const decimal = /^decimal\((\d+),(\d+)\)$/.exec(type);
  if (decimal) {
    const low = bytes.readBigInt64LE(at);
    const whole = widthOf(type) === 8 ? low : (bytes.readBigInt64LE(at + 8) << 64n) + BigInt.asUintN(64, low);
    return withPoint(whole, Number(decimal[2]));
  }
  switch (type) {
    case "boolean": return String(bytes.readUInt8(at) === 1);
    case "int": return String(bytes.readInt32LE(at));
    case "date": return new Date(bytes.readInt32LE(at) * EPOCH_DAY).toISOString().slice(0, 10);
    case "float": return String(bytes.readFloatLE(at));
    case "double": return String(bytes.readDoubleLE(at));
    default: return String(bytes.readBigInt64LE(at));
  }
}

function isNull(bytes, at, place) {
  return ((bytes[at + (place >> 3)] >> (place & 7)) & 1) === 1;
}

function variable(content, type) {
  if (type === "string") return content.toString("utf8");
  if (type === "binary") return content.toString("hex");
  const inner = /^array<(.+)>$/.exec(type)[1];
  const count = content.readUInt32LE(0);
  const width = widthOf(inner);
  let at = 4 + Math.ceil(count / 8);
  const items = [];
  for (let place = 0; place < count; place++) {
    const none = isNull(content, 4, place);
    if (width) {
      items.push(none ? null : fixed(content, at, inner));
      at += width;
    } else if (none) {
      items.push(null);
    } else {
      const length = content.readUInt32LE(at);
      items.push(variable(content.subarray(at + 4, at + 4 + length), inner));
      at += 4 + length;
    }
  }
  return items;
}

function decode(bytes, features) {
  if (bytes[0] !== 1) throw new Error(`version ${bytes[0]}`);
  const values = {};
  let at = 9 + Math.ceil(features.length / 8);
  features.forEach(([name, type], place) => {
    const width = widthOf(type);
    if (!width) return;
    values[name] = isNull(bytes, 9, place) ? null : fixed(bytes, at, type);
    at += width;
  });
  features.forEach(([name, type], place) => {
    if (widthOf(type)) return;
    const length = bytes.readUInt32LE(at);
    const content = bytes.subarray(at + 4, at + 4 + length);
    values[name] = isNull(bytes, 9, place) ? null : variable(content, type);
    at += 4 + length;
  });
  if (at !== bytes.length) throw new Error(`${bytes.length - at} bytes are left over`);
  return { event: String(bytes.readBigInt64LE(1)), values };
}

// Redis' protocol: one MGET, whose answer is a list of texts.
function mget(host, port, names) {
  const words = ["MGET", ...names].map((each) => Buffer.from(each));
  const command = Buffer.concat([
    Buffer.from(`*${words.length}\r\n`),
    ...words.map((each) => Buffer.concat([Buffer.from(`$${each.length}\r\n`), each, Buffer.from("\r\n")])),
  ]);
  return new Promise((resolve, reject) => {
    let came = Buffer.alloc(0);
    const socket = createConnection({ host, port }, () => socket.write(command));
    socket.on("error", reject);
    socket.on("data", (part) => {
      came = Buffer.concat([came, part]);
      const found = texts(came);
      if (found) {
        socket.end();
        resolve(found);
      }
    });
  });
}

function texts(came) {
  let at = 0;
  const line = () => {
    const end = came.indexOf("\r\n", at);
    if (end < 0) return null;
    const found = came.toString("latin1", at, end);
    at = end + 2;
    return found;
  };
  const head = line();
  if (head === null) return null;
  if (head[0] !== "*") throw new Error(head);
  const found = [];
  for (let left = Number(head.slice(1)); left > 0; left--) {
    const size = line();
    if (size === null) return null;
    const length = Number(size.slice(1));
    if (length < 0) {
      found.push(null);
      continue;
    }
    if (came.length < at + length + 2) return null;
    found.push(came.subarray(at, at + length));
    at += length + 2;
  }
  return found;
}

const [host, port, prefix, view] = process.argv.slice(2);
const entities = JSON.parse(readFileSync(0, "utf8"));
const [text] = await mget(host, Number(port), [`${prefix}:${view}:head`]);
const head = JSON.parse(text.toString("utf8"));
const rows = await mget(host, Number(port), entities.map((each) => `${prefix}:${view}:${head.generation}:${nameOf(each)}`));
process.stdout.write(JSON.stringify(rows.map((row) => (row === null ? null : decode(row, head.features)))));
