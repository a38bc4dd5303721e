// What the public API answers with: docs/reference, and /openapi.json.

export type State =
  | "creating"
  | "starting"
  | "running"
  | "pausing"
  | "paused"
  | "resuming"
  | "stopping"
  | "stopped"
  | "deleting"
  | "failed";

export type Isolation = "vm" | "emulated-vm" | "container";

export type ClipboardWay = "off" | "in" | "out" | "both";

export type Mode = "control" | "view";

export interface Screen {
  width: number;
  height: number;
}

export interface Desktop {
  id: string;
  name: string;
  owner: string;
  session_id: string;
  state: State;
  runtime: string;
  isolation: Isolation | null;
  image: string;
  vcpus: number;
  memory_mib: number;
  disk_gib: number;
  screen: Screen;
  /** A proxy's name, or "direct", or "none"; null: the one who looks is not to know. */
  proxy: string | null;
  /** The address the world sees; null: the one who looks is not to know. */
  exit?: Exit | null;
  viewer_url: string;
  /** Which way its clipboard goes, as the desktop sees it. */
  clipboard: ClipboardWay;
  created_at: string;
  ready_at: string | null;
  timings: Record<string, number>;
  error: DesktopError | string | null;
  /** How far whoever looks reaches: "own", "control" or "view". */
  access?: string;
}

/** A user a desktop is shared with, or a link that was given away. */
export interface Share {
  id: string;
  kind: "user" | "link";
  user: string;
  mode: Mode;
  created_at: string;
  expires_at: string | null;
}

export interface Exit {
  /** Empty while it is not known. */
  ip: string;
  /** What it was before it changed without anybody's doing, else empty. */
  was: string;
  /** ISO 3166 code, empty without a database of countries. */
  country: string;
}

/** One connection of a desktop's access log. */
export interface Access {
  at: string;
  host: string;
  port: number;
  bytes_in?: number;
  bytes_out?: number;
}

/** What GET /desktops/…/egress tells, as far as the page shows it. */
export interface Egress {
  proxy: string;
  bytes_in: number;
  bytes_out: number;
  connections: number;
  open: number;
  denied: number;
  denied_by_reason: Record<string, number>;
  /** Names of limits that only administrators change. */
  held: readonly string[];
  upstream_errors: number;
  upstream_ok: boolean | null;
  latency_ms: Latency;
  allow: string[];
  deny: string[];
  max_connections: number;
  /** Of limits, 0 is none. */
  connections_per_second: number;
  bytes_per_second: number;
  byte_quota: number;
  quota_used: number;
  /** null without a quota. */
  quota_left: number | null;
  access_log: boolean;
}

/** Times to connect; `buckets`: how many took at most so many milliseconds. Empty before the first. */
export interface Latency {
  count?: number;
  buckets?: Record<string, number>;
  p50?: number | null;
  p95?: number | null;
}

/** Why a desktop failed. */
export interface DesktopError {
  code?: string;
  message?: string;
  detail?: string;
  hint?: string;
  console?: string;
}

export interface OrielEvent {
  id: string;
  kind: string;
  at: string;
  desktop: string;
  message: string;
  data: Record<string, unknown>;
}

export interface Page<T> {
  items: T[];
  next: string | null;
}

export interface Session {
  user: string;
  role: string;
  permissions: readonly ("read" | "control" | "admin")[];
  has_password: boolean;
}

/** How people may sign in here. */
export interface Ways {
  password: boolean;
  oidc: { title: string; url: string } | null;
}

export type QuotaField = "desktops" | "vcpus" | "memory_mib" | "disk_gib" | "proxies";

/** What somebody may have at most (null: no limit), and has. */
export interface Quota {
  limits: Record<QuotaField, number | null>;
  usage: Record<QuotaField, number>;
}

export interface Ticket {
  ticket: string;
  viewer_url: string;
  expires_at: string;
}

export interface Redeemed {
  desktop: Desktop | string;
  mode: Mode;
  grant: string;
}

export interface Fault {
  field: string;
  problem: string;
}

export interface Person {
  id: string;
  name: string;
  role: string;
  created_at: string;
  has_password: boolean;
  /** Who they are to the provider they sign on at. */
  subject: string | null;
}
