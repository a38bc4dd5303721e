import { expect, test } from "vitest";
import { age, duration, size } from "../src/amount";
import { Problem } from "../src/api/problem";
import { backOff } from "../src/back-off";
import { proposeName } from "../src/names";
import { keysymOf } from "../src/view/screen";

test("numbers as people read them", () => {
  expect([0.0124, 3.44, 125].map(duration)).toEqual(["12 ms", "3.4 s", "2 min 5 s"]);
  const now = Date.parse("2026-01-10T00:00:00Z");
  const since = ["2026-01-09T23:59:56Z", "2026-01-09T23:48:00Z", "2026-01-09T21:00:00Z", "2026-01-04T00:00:00Z"];
  expect(since.map((at) => age(at, now))).toEqual(["4 s", "12 min", "3 h", "6 d"]);
  expect([512, 1536, 5 * 1024 ** 3].map(size)).toEqual(["512 B", "1.5 KiB", "5.0 GiB"]);
});

test("tries come at growing distances, never further apart than 18 s", () => {
  const middle = [0, 1, 2, 3, 10, 1000].map((attempt) => backOff(attempt, () => 0.5));
  expect(middle).toEqual([500, 1000, 2000, 4000, 15_000, 15_000]);
  expect(backOff(50, () => 1)).toBeLessThanOrEqual(18_000);
});

test("a proposed name is free and valid", () => {
  const taken = new Set(["amber-alder", "amber-alder-2"]);
  expect(proposeName(taken, () => 0)).toBe("amber-alder-3");
  for (let n = 0; n < 200; n++) expect(proposeName(new Set())).toMatch(/^[a-z]+-[a-z]+$/);
});

test("a problem keeps its hint and the faults of its fields", () => {
  const body = { code: "invalid", detail: "name: too long", hint: "shorter", faults: [{ field: "name", problem: "too long" }] };
  const problem = Problem.fromBody(422, body);
  expect([problem.message, problem.hint, problem.fault("name"), problem.fault("vcpus")]).toEqual([
    "name: too long",
    "shorter",
    "too long",
    "",
  ]);
  expect(Problem.fromBody(502, "<html>").message).toContain("502");
});

test("characters become X keysyms", () => {
  expect(["a", "é", "€", "→"].map(keysymOf)).toEqual([0x61, 0xe9, 0x010020ac, 0x01002192]);
});
