// Shows openapi.json, with an example of every operation, and sends what is typed to the service that serves this page.
"use strict";

const make = (tag, attributes, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const text = (words) => document.createTextNode(words ?? "");
const dim = (words) => make("span", { class: "dim" }, words ?? "");
const code = (words) => make("code", {}, words);

// Words between backticks are code.
const marked = (words) => (words ?? "").split("`").map((part, n) => (n % 2 ? code(part) : text(part)));

const typeOf = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf || schema.oneOf) return (schema.anyOf || schema.oneOf).map(typeOf).join(" | ");
  if (schema.const !== undefined) return String(schema.const);
  const type = [schema.type].flat().filter(Boolean).join(" | ");
  const range = [schema.minimum ?? schema.minLength, schema.maximum ?? schema.maxLength];
  const bounds = range[1] !== undefined ? ` ${range[0] ?? ""}…${range[1]}` : "";
  return (schema.items ? `${type} of ${typeOf(schema.items)}` : type) + (schema.format ? ` (${schema.format})` : "") + bounds;
};

const row = (name, kind, about) =>
  make("tr", {}, make("th", { scope: "row" }, code(name)), make("td", {}, dim(kind)), make("td", {}, ...marked(about)));
const table = (caption, rows) =>
  make("div", { class: "scroll" }, make("table", {}, make("caption", {}, caption), make("tbody", {}, ...rows)));

const bodyFields = (operation) =>
  operation.requestBody?.content["application/json"].schema?.properties ?? {};
const parametersIn = (operation, place) => (operation.parameters ?? []).filter((one) => one.in === place);

// ---- Requests

// What stands in a path by which a schedule is named, if the example has it by its id.
const IN_PATHS = { creator: "alice", schedule_name: "nightly", schedule_id: "01a22a07-818a-74c4-be69-cde9e3ac4889" };

const exampleOf = (operation) => {
  const fields = { ...operation["x-example"] };
  const inPath = parametersIn(operation, "path").map((one) => one.name);
  for (const name of inPath) fields[name] ??= IN_PATHS[name] ?? name;
  if (inPath.includes("schedule_name")) delete fields.schedule_id;
  const known = new Set([...Object.keys(bodyFields(operation)), ...(operation.parameters ?? []).map((one) => one.name)]);
  return Object.fromEntries(Object.entries(fields).filter(([name]) => known.has(name)));
};

// Where the fields of a request stand: in the path, in the query, and in the body.
const placed = (path, operation, fields) => {
  const rest = { ...fields };
  const target = path.replace(/\{(\w+)\}/g, (_, name) => {
    const value = rest[name];
    delete rest[name];
    return encodeURIComponent(value ?? "");
  });
  if (operation.requestBody) return { target, body: rest };
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(rest)) {
    for (const one of [value].flat()) query.append(name, typeof one === "object" ? JSON.stringify(one) : String(one));
  }
  return { target: query.size ? `${target}?${query}` : target };
};

// A browser would send another number than the one that was typed.
const exact = (_, value, context) => {
  const digits = typeof value === "number" ? (context?.source ?? "").replace(/[eE].*|\D/g, "").replace(/^0+/, "") : "";
  if (digits.length > 15) throw new Error(`${context.source} has more digits than a browser keeps: send it with a command`);
  return value;
};

const quoted = (words) => `'${words.replaceAll("'", "'\\''")}'`;

const commands = (method, path, operation, fields, needsToken) => {
  const { target, body } = placed(path, operation, fields);
  const token = needsToken ? ' -H "Authorization: Bearer $TOKEN"' : "";
  const json = body ? ` --json ${quoted(JSON.stringify(body))}` : "";
  const curl = `curl -X ${method.toUpperCase()} ${quoted(location.origin + target)}${token}${json}`;
  const name = operation["x-operation"];
  return name ? `nats req cmd.scheduler.${name} ${quoted(JSON.stringify(fields))}\n\n${curl}` : curl;
};

const send = async (method, path, operation, fields) => {
  const { target, body } = placed(path, operation, fields);
  const headers = {};
  const token = document.getElementById("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const began = performance.now();
  // The API goes by its token alone; a cookie of the dashboard is none of its business.
  const answer = await fetch(target, { method: method.toUpperCase(), headers, body: body && JSON.stringify(body), credentials: "omit" });
  const said = await answer.text();
  const took = Math.round(performance.now() - began);
  let shown = said;
  try { shown = JSON.stringify(JSON.parse(said), null, 2); } catch { /* it is no JSON, and is shown as it is */ }
  return { line: `${answer.status} ${answer.statusText}, after ${took} ms`, shown };
};

const tryIt = (method, path, operation, id, needsToken) => {
  const changes = method !== "get" && !["schedule.preview"].includes(operation["x-operation"]);
  const input = make("textarea", { rows: 6, spellcheck: "false" });
  input.value = JSON.stringify(exampleOf(operation), null, 2);
  const told = make("pre", { tabindex: "0" });
  const line = make("p", { role: "status" });
  const reply = make("pre", { tabindex: "0", hidden: "" });
  const read = () => JSON.parse(input.value.trim() || "{}", exact);
  const tell = () => {
    try { told.textContent = commands(method, path, operation, read(), needsToken); } catch (error) { told.textContent = String(error); }
  };
  input.addEventListener("input", tell);
  tell();
  const button = make("button", { type: "submit", class: changes ? "danger" : "primary" }, changes ? "Send: this takes effect" : "Send");
  const form = make("form", {}, make("label", {}, "Request, with the fields of the path and the query ", input), button, line, reply);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const said = await send(method, path, operation, read());
      line.textContent = said.line;
      reply.textContent = said.shown;
      reply.hidden = !said.shown;
    } catch (error) {
      line.textContent = `Not sent: ${error.message}`;
      reply.hidden = true;
    }
    button.disabled = false;
  });
  return make("section", { "aria-label": `Try ${id}` }, make("h3", {}, "Example"), told, make("h3", {}, "Try it"), form);
};

// ---- The page

const entry = (path, method, operation, needsToken) => {
  const whole = make("details", { id: operation.operationId, class: "operation" });
  whole.append(make("summary", {}, make("b", {}, method.toUpperCase()), text(" "), code(path), text(" "), dim(operation.summary)));
  // Hundreds of tables would be made for nothing.
  whole.addEventListener("toggle", () => {
    if (whole.childElementCount > 1) return;
    if (operation.description) whole.append(make("p", {}, ...marked(operation.description)));
    whole.append(tryIt(method, path, operation, operation.operationId, needsToken));
    const fields = (operation.parameters ?? []).map((one) => row(one.name, `${one.in}, ${typeOf(one.schema)}`, one.description));
    for (const [name, field] of Object.entries(bodyFields(operation))) fields.push(row(name, `body, ${typeOf(field)}`, field.description));
    if (fields.length) whole.append(table("Fields", fields));
    const answers = Object.entries(operation.responses).map(([status, answer]) =>
      row(status, typeOf(Object.values(answer.content ?? {})[0]?.schema), answer.description));
    whole.append(table("Answers", answers));
  });
  return whole;
};

const show = (all) => {
  const needsToken = (all.security ?? []).length > 0;
  document.getElementById("access").hidden = !needsToken;
  const main = document.getElementById("operations");
  main.replaceChildren();
  for (const { name: tag, description } of all.tags) {
    const part = make("section", { class: "tag" }, make("h2", {}, tag), make("p", { class: "dim" }, description ?? ""));
    for (const [path, methods] of Object.entries(all.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (operation.tags.includes(tag)) part.append(entry(path, method, operation, needsToken));
      }
    }
    main.append(part);
  }
  const schemas = make("section", { class: "tag" }, make("h2", {}, "schemas"));
  for (const [name, schema] of Object.entries(all.components.schemas)) {
    const summary = make("summary", {}, code(name), text(" "), dim(schema.description?.split("\n")[0]));
    schemas.append(make("details", { class: "operation" }, summary, make("pre", { tabindex: "0" }, JSON.stringify(schema, null, 2))));
  }
  main.append(schemas);
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.scrollIntoView();
  }
};

document.getElementById("find").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const one of document.querySelectorAll(".operation")) {
    one.hidden = !one.firstElementChild.textContent.toLowerCase().includes(wanted);
  }
});
document.querySelector("header form").addEventListener("submit", (event) => event.preventDefault());

fetch("/openapi.json").then((reply) => reply.json()).then(show).catch((error) => {
  document.getElementById("operations").replaceChildren(make("p", { role: "alert" }, `openapi.json cannot be read: ${error}`));
});
