import { describe, expect, it } from "vitest";
import { notBefore, Samples } from "../src/view/figures";
import { parse } from "../src/view/message";
import { wantedSize } from "../src/view/wanted-size";

describe("figures", () => {
  it("tells quantiles of what was kept", () => {
    const samples = new Samples();
    expect(samples.quantile(0.5)).toBeNull();
    for (let value = 1; value <= 100; value++) samples.add(value);
    expect([samples.quantile(0.5), samples.quantile(0.95)]).toEqual([50, 95]);
    for (let value = 0; value < 500; value++) samples.add(7);
    expect(samples.list.length).toBe(120);
    expect(samples.quantile(0.95)).toBe(7);
  });

  it("orders RTP times across their wrap", () => {
    expect(notBefore(5, 5)).toBe(true);
    expect(notBefore(3, 0xfffffff0)).toBe(true);
    expect(notBefore(0xfffffff0, 3)).toBe(false);
  });
});

describe("messages", () => {
  it("takes objects with a type, and nothing else", () => {
    for (const odd of ["", "nonsense", "[]", "null", "7", '{"type":7}', "{}", new ArrayBuffer(2)]) {
      expect(parse(odd)).toBeNull();
    }
    expect(parse('{"type":"pong","id":1}')).toEqual({ type: "pong", id: 1 });
  });
});

describe("the size of a desktop that follows", () => {
  it("is even and within limits", () => {
    expect(wantedSize(1441, 901, 1)).toEqual({ width: 1440, height: 900 });
    expect(wantedSize(390, 844, 3)).toEqual({ width: 1170, height: 2160 });
    expect(wantedSize(10, 10, 1)).toEqual({ width: 320, height: 240 });
  });
});
