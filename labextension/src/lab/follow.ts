import { CANCEL, isDecided, jobOf } from '../panel/cancel';
import { ITranslate } from '../panel/text';
import { IJob, IPrices, IPush, ISink, IState, ITransport, ILook, Link, Refused } from '../panel/contract';

/** The Jupyter server as the follower needs it. */
export interface IWire {
  /** Send; rejects with `Refused` for an answer that is an error, and with anything else where there was no answer. */
  get<T>(route: string): Promise<T>;
  post<T>(route: string, body: object, signal?: AbortSignal): Promise<T>;
  /** Call `slot` with every emission of our schema; the answer ends it. */
  pushes(slot: (push: IPush) => void): () => void;
  /** Interrupt the kernel that runs the job, as the interrupt button does; `false`: it was not found. */
  interrupt(job: IJob): Promise<boolean>;
  notebook(): string | null;
  /** Open a notebook of the file browser. */
  open(path: string): void;
}

const FIRST_MS = 1000;
const LONGEST_MS = 60_000;
const CHECK_MS = 30_000;
const PENDING_MS = 3000;
const CANCEL_MS = 4000;
const CLIENT_LENGTH = 64;

/** What a failed question says of the link. */
export function linkOf(error: unknown): Link {
  if (!(error instanceof Refused)) {
    return 'offline';
  }
  if (error.status === 404) {
    return 'missing';
  }
  return error.status === 401 || error.status === 403 ? 'forbidden' : 'offline';
}

/** `false` for what fails, or does not come. */
function soon(answer: Promise<boolean>): Promise<boolean> {
  const late = new Promise<boolean>(resolve => setTimeout(() => resolve(false), CANCEL_MS));
  return Promise.race([answer.catch(() => false), late]);
}

/** Tell whether the server is still asking; after a cut the socket of the pushes may come back much later than the server. */
function isPending(state: IState): boolean {
  return [state.pods, state.platforms, state.alerts, state.jobs].some(part => part.loading || part.items === null);
}

/** Follows the server: first state by REST, then pushes; a gap in them or a server started anew is answered by asking again. */
export class Follower implements ITransport {
  readonly kind = 'server';
  private sink: ISink | null = null;
  private revision = -1;
  private pricesRevision = -1;
  private wantedPrices = -1;
  private jobs: readonly IJob[] | null = null;
  private wait = FIRST_MS;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asking = false;
  private askingPrices = false;
  private looked: ILook = { parts: [], gpus: [] };
  private readonly client = `page-${Math.random().toString(36).slice(2)}`.slice(0, CLIENT_LENGTH);

  constructor(
    private readonly wire: IWire,
    private readonly t: ITranslate,
    private readonly hidden: () => boolean = () => document.hidden
  ) {}

  start(sink: ISink): () => void {
    this.sink = sink;
    const stop = this.wire.pushes(push => this.pushed(push));
    void this.askState();
    return () => {
      stop();
      clearTimeout(this.timer);
      this.sink = null;
    };
  }

  async ask<T>(route: string, body: object): Promise<T> {
    return route === CANCEL ? this.cancel<T>(body, jobOf(this.jobs, body)) : this.wire.post<T>(route, body);
  }

  /**
   * Cancel `job` by the server's route; where that fails, or is silent for a while, interrupt the kernel itself.
   * What is given up is broken off, so that the server does not interrupt it a second time later.
   */
  async cancel<T>(body: object, job: IJob | null): Promise<T> {
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), CANCEL_MS);
    try {
      return await this.wire.post<T>(CANCEL, body, patience.signal);
    } catch (error) {
      if (isDecided(error)) {
        throw error;
      }
      if (job !== null && (await soon(this.wire.interrupt(job)))) {
        return {} as T;
      }
      const refusal = error instanceof Refused ? error.refusal : { message: String(error) };
      throw new Refused({ ...refusal, hint: this.t.__('interrupt the kernel in its notebook') }, error instanceof Refused ? error.status : 0);
    } finally {
      clearTimeout(timer);
    }
  }

  readonly openNotebook = (path: string): void => this.wire.open(path);

  look(look: ILook): void {
    const before = this.looked;
    this.looked = look;
    if (look.parts.includes('prices') && !before.parts.includes('prices')) {
      void this.askPrices();
    }
    this.wire.post('looking', { client: this.client, ...look }).catch(error => {
      // A person who may read and not act sees what is there; only silence says something of the link.
      if (!(error instanceof Refused)) {
        this.failed(error);
      }
    });
  }

  notebook(): string | null {
    return this.wire.notebook();
  }

  private pushed(push: IPush): void {
    if (push.revision === this.revision + 1 || push.revision === this.revision) {
      this.revision = push.revision;
      this.jobs = push.parts.jobs?.items ?? this.jobs;
      this.sink?.push(push);
      this.sink?.link('live');
    } else {
      void this.askState();
    }
    this.wantedPrices = Number.isNaN(push.prices_revision) ? this.wantedPrices : push.prices_revision;
    if (this.looked.parts.includes('prices') && this.wantedPrices !== this.pricesRevision) {
      void this.askPrices();
    }
  }

  private async askState(): Promise<void> {
    if (this.asking || !this.sink) {
      return;
    }
    this.asking = true;
    try {
      const state = await this.wire.get<IState>('state');
      this.revision = state.revision;
      this.jobs = state.jobs.items;
      this.wait = FIRST_MS;
      this.sink?.state(state);
      this.sink?.link('live');
      this.later(isPending(state) ? PENDING_MS : CHECK_MS);
    } catch (error) {
      this.failed(error);
    } finally {
      this.asking = false;
    }
  }

  private async askPrices(): Promise<void> {
    if (this.askingPrices || !this.sink) {
      return;
    }
    this.askingPrices = true;
    try {
      const prices = await this.wire.get<IPrices>('prices');
      this.pricesRevision = prices.revision;
      this.sink?.prices(prices);
    } catch (error) {
      this.failed(error);
    } finally {
      this.askingPrices = false;
    }
    if (this.wantedPrices > this.pricesRevision && this.looked.parts.includes('prices')) {
      this.later(FIRST_MS);
    }
  }

  private failed(error: unknown): void {
    this.sink?.link(linkOf(error));
    this.later(this.wait);
    this.wait = Math.min(this.wait * 2, LONGEST_MS);
  }

  /** Ask again in `ms`; a hidden page asks once it is shown. */
  private later(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (this.hidden()) {
        this.later(ms);
        return;
      }
      void this.askState();
      if (this.looked.parts.includes('prices') && this.wantedPrices !== this.pricesRevision) {
        void this.askPrices();
      }
    }, ms);
  }
}
