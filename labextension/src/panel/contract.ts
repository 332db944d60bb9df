/** The state and its parts, as docs/panel.md tells them. `null` means "not known", amounts are exact dollars as text, times are RFC 3339. */

export interface ITrouble {
  text: string;
  hint?: string;
  billing?: string;
  since?: string | null;
}

export interface IFrame {
  at: string | null;
  stale_after_s: number | null;
  loading: boolean;
  error: ITrouble | null;
}

export interface IPart<T> extends IFrame {
  items: T[] | null;
}

export interface IPlatform {
  platform: string;
  summary: string;
  key: boolean;
  key_from: string | null;
  simulated: boolean;
  free: boolean;
  pauses: string;
  console_url: string | null;
}

export interface IGpuGauge {
  name: string;
  use_percent: number | null;
  vram_used_mb: number | null;
  vram_total_mb: number | null;
  temperature_c: number | null;
  power_w: number | null;
}

export interface IGauges {
  at: string | null;
  lease_left_s: number | null;
  gpus: IGpuGauge[];
}

/** What can be done; `text`, where present, must be shown with it. */
export interface IMay {
  usd_per_hour?: string | null;
  text?: string;
}

export type PodState =
  | 'asked'
  | 'booting'
  | 'running'
  | 'stopped'
  | 'destroying'
  | 'gone'
  | 'failed'
  | 'stranger'
  | 'unlisted'
  | 'unknown';

export type PodAction = 'extend' | 'stop' | 'start' | 'destroy' | 'adopt' | 'ssh';

export interface IPod {
  id: string;
  number: string | null;
  platform: string;
  label: string;
  name: string | null;
  notebook: string | null;
  gpu: string;
  gpu_count: number;
  simulated: boolean;
  spot: boolean;
  mine: boolean;
  state: PodState;
  state_text: string;
  phase: string | null;
  since: string | null;
  created: string | null;
  checked: string | null;
  usd_per_hour: string | null;
  cost_usd: string | null;
  cost_at: string | null;
  billing: boolean;
  lease_s: number | null;
  lease_ends: string | null;
  hard_ends: string | null;
  hard_s: number | null;
  runs: string | null;
  gauges: IGauges | null;
  may: Partial<Record<PodAction, IMay | null>>;
}

/** How far a cell is; `percent` is what its own progress bar says. */
export interface IProgress {
  at: string | null;
  phase: string;
  done_bytes: number | null;
  total_bytes: number | null;
  percent: number | null;
  line: string | null;
}

export interface IJob {
  id: string;
  pod: string | null;
  notebook: string | null;
  /** The kernel that runs it, by its id on its Jupyter server, and its notebook in the file browser. */
  kernel: string | null;
  path: string | null;
  started: string | null;
  ended: string | null;
  seconds: number | null;
  state: string;
  progress: IProgress | null;
  cost_usd: string | null;
  simulated: boolean;
  may: { cancel?: IMay | null; attach?: { command: string } | null };
}

export interface IFigures {
  usd_per_hour: string | null;
  today_usd: string | null;
  month_usd: string | null;
  budget_day_usd: string | null;
  budget_month_usd: string | null;
  by_day: { day: string; usd: string }[] | null;
  by_gpu: { gpu: string; usd: string }[] | null;
  by_notebook: { notebook: string; usd: string }[] | null;
  pods: number | null;
  at: string | null;
}

export interface ISpend extends IFrame {
  figures: { real: IFigures | null; simulated: IFigures | null } | null;
}

export interface IAlert {
  id: string;
  kind: string;
  severity: 'error' | 'warning';
  text: string;
  since: string | null;
  pod: string | null;
  settles: string;
  actions: PodAction[];
  console_url: string | null;
}

export interface IOperation {
  id: string;
  action: string;
  pod: string | null;
  text: string;
  phase: string | null;
  notes: string[];
  state: 'running' | 'done' | 'failed';
  started: string | null;
  ended: string | null;
  error: ITrouble | null;
}

export interface IParts {
  platforms: IPart<IPlatform>;
  pods: IPart<IPod>;
  jobs: IPart<IJob>;
  spend: ISpend;
  alerts: IPart<IAlert>;
  operations: IPart<IOperation>;
}

export interface IState extends IParts {
  version: number;
  now: string;
  source: 'server' | 'kernel';
  revision: number;
}

export interface IPush {
  revision: number;
  now: string;
  parts: Partial<IParts>;
  prices_revision: number;
}

export interface IOffer {
  id: string;
  platform: string;
  gpu: string;
  gpu_count: number;
  vram_gb: number | null;
  usd_per_hour: string;
  disk_usd_per_hour: string | null;
  sent_usd_per_gb: string | null;
  reliability: number | null;
  down_mbps: number | null;
  up_mbps: number | null;
  cuda: string;
  region: string;
  cloud: string | null;
  spot: boolean;
  simulated: boolean;
  suspicious: string;
  at: string | null;
  series: string;
}

export interface ISeries {
  samples: [string, string][];
  low_usd: string | null;
}

export interface IPrices extends IPart<IOffer> {
  revision: number;
  dropped: number;
  total: number;
  hours: number;
  disk_gb: number;
  series: Record<string, ISeries>;
  troubles: string[];
}

export interface IQuote {
  quote: string;
  until: string;
  usd_per_hour: string;
  text: string;
  worst_usd: string;
  budget_text: string | null;
  suspicious: string;
  simulated: boolean;
}

/** Why an action was refused. */
export interface IRefusal {
  message: string;
  hint?: string;
  billing?: string;
  reason?: string;
}

/** How well the other side is reached. */
export type Link = 'connecting' | 'live' | 'offline' | 'missing' | 'forbidden' | 'waiting';

export class Refused extends Error {
  constructor(
    readonly refusal: IRefusal,
    readonly status: number
  ) {
    super(refusal.message);
  }
}

/** What somebody looks at; no GPUs means all of them. */
export interface ILook {
  parts: string[];
  gpus: string[];
}

/** Where the panel's state comes from and where its actions go. */
export interface ITransport {
  /** Begin to deliver; the answer ends it. */
  start(sink: ISink): () => void;
  /** Ask for an action; rejects with `Refused`. `waiting` is called when the other side has not taken it within a second. */
  ask<T>(route: string, body: object, waiting?: () => void): Promise<T>;
  /** Tell whether somebody looks, and at what. */
  look(look: ILook): void;
  /** The notebook that a machine rented now is for; `null`: none. */
  notebook(): string | null;
  /** Open the notebook at this path of the file browser; `null`: nothing can be opened from here. */
  readonly openNotebook: ((path: string) => void) | null;
  /** The Jupyter server or a notebook's kernel. */
  readonly kind: 'server' | 'kernel';
}

export interface ISink {
  /** `saved`: it was kept in a file, and nobody has said since that it is still true. */
  state(state: IState, saved?: boolean): void;
  push(push: IPush): void;
  prices(prices: IPrices): void;
  link(link: Link): void;
}
