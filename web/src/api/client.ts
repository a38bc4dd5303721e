import { Problem } from "./problem";

/** `onProgress`: bytes that have gone. `range`: which piece it is, for `Content-Range`. */
interface Upload {
  onProgress: (sent: number) => void;
  signal: AbortSignal;
  range?: string;
}

/** Speaks to `/v1`, as the signed-in person (by cookie) or as the holder of a grant. */
export class Client {
  /** Called when the server no longer knows who we are. */
  onSignedOut: () => void = () => {};

  constructor(private readonly grant = "") {}

  get<T>(path: string): Promise<T> {
    return this.json<T>("GET", path);
  }

  post<T>(path: string, body: unknown = {}, headers: Record<string, string> = {}): Promise<T> {
    return this.json<T>("POST", path, body, headers);
  }

  patch<T>(path: string, body: unknown): Promise<T> {
    return this.json<T>("PATCH", path, body);
  }

  put(path: string, body: unknown): Promise<unknown> {
    return this.json("PUT", path, body);
  }

  /** A file, with its progress from 0 to 1; fetch has no way to tell that. */
  upload(path: string, body: Blob, more: Upload): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("PUT", `/v1${path}`);
      if (this.grant) request.setRequestHeader("Authorization", `Bearer ${this.grant}`);
      if (more.range) request.setRequestHeader("Content-Range", more.range);
      request.responseType = "json";
      request.upload.onprogress = ({ loaded }) => more.onProgress(loaded);
      request.onerror = request.onabort = () => reject(Problem.offline());
      request.onload = () =>
        request.status < 400 ? resolve() : reject(Problem.fromBody(request.status, request.response));
      more.signal.addEventListener("abort", () => request.abort());
      request.send(body);
    });
  }

  /** Something that is not JSON. */
  async send(method: string, path: string, body: Blob): Promise<void> {
    const response = await this.fetch(method, path, { body });
    if (!response.ok) throw await this.refusal(response);
  }

  delete(path: string): Promise<unknown> {
    return this.json("DELETE", path);
  }

  /** A picture; null where there is none yet. */
  async picture(path: string, signal?: AbortSignal): Promise<Blob | null> {
    const response = await this.fetch("GET", path, { ...(signal && { signal }), cache: "no-cache" });
    if (response.status === 404 || response.status === 204) return null;
    if (!response.ok) throw await Problem.of(response);
    return response.blob();
  }

  /** A long answer, to be read piece by piece. */
  async stream(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    const response = await this.fetch("GET", path, { headers, signal, cache: "no-store" });
    if (!response.ok) throw await this.refusal(response);
    return response;
  }

  private async json<T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<T> {
    const response = await this.fetch(method, path, {
      headers: body === undefined ? headers : { ...headers, "Content-Type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw await this.refusal(response);
    return (response.status === 204 ? undefined : await response.json()) as T;
  }

  private async fetch(method: string, path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.grant) headers.set("Authorization", `Bearer ${this.grant}`);
    try {
      return await fetch(`/v1${path}`, { ...init, method, headers, credentials: "same-origin" });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw Problem.offline();
    }
  }

  private async refusal(response: Response): Promise<Problem> {
    if (response.status === 401) this.onSignedOut();
    return Problem.of(response);
  }
}

/** A path's segment. */
export const part = encodeURIComponent;
