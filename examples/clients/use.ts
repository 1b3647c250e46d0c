// Uses types that openapi-typescript has made of the service's OpenAPI document: see README.md.
import createClient from "openapi-fetch";
import type { paths } from "./schema.d.ts";

const [baseUrl, token] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${token}` } });
const body = {
  name: "generated", schedule_type: "interval", interval_seconds: 60, target_command: "cmd.example.x",
} as const;
const check = (holds: unknown, what: unknown) => {
  if (!holds) throw new Error(JSON.stringify(what));
};
const created = await client.POST("/api/v1/schedules", { body });
check(created.data?.data.status === "active", created.error);
const schedule_id = created.data!.data.id;
const got = await client.GET("/api/v1/schedules/{schedule_id}", { params: { path: { schedule_id } } });
check(got.data?.data.interval_seconds === 60, got.error);
const listed = await client.GET("/api/v1/schedules", { params: { query: { limit: 10 } } });
check(listed.data?.data.map((one) => one.id).join() === schedule_id, listed.error);
const refused = await client.POST("/api/v1/schedules", { body });
check(refused.response.status === 409 && refused.error?.error.code === "already_exists", refused.data);
await client.DELETE("/api/v1/schedules/{schedule_id}", { params: { path: { schedule_id } } });
