import { expect, test } from "vitest";
import type { Egress } from "../src/api/types";
import { changesOf, limitsOf } from "../src/exit/limits";

const told = {
  byte_quota: 1_000_000_007,
  bytes_per_second: 0,
  max_connections: 1024,
  connections_per_second: 5,
  access_log: false,
} as Egress;

test("what is not touched stays as exact as it was", () => {
  expect(limitsOf(told).byte_quota).toBe("0.9313");
  expect(changesOf(limitsOf(told), told)).toEqual({});
});

test("units are those of the fields, an empty field is no limit", () => {
  const limits = { ...limitsOf(told), byte_quota: " 0,5 ", bytes_per_second: "2", connections_per_second: "", access_log: true };
  expect(changesOf(limits, told)).toEqual({
    byte_quota: 2 ** 29,
    bytes_per_second: 2 ** 21,
    connections_per_second: 0,
    access_log: true,
  });
});

test("what is no number is the server's to refuse", () => {
  expect(changesOf({ ...limitsOf(told), byte_quota: "lots" }, told)).toEqual({ byte_quota: "lots" });
});
