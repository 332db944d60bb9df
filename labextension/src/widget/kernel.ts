import { ILook, IPrices, IRefusal, ISink, IState, ITransport, Refused } from '../panel/contract';
import { borrow } from '../panel/borrow';
import { notebookOf } from '../panel/cancel';

/** The part of anywidget's model that the panel needs. */
export interface IModel {
  get(name: string): unknown;
  on(event: string, slot: (...values: never[]) => void): void;
  off(event: string, slot: (...values: never[]) => void): void;
  send(content: unknown): void;
}

interface IAnswer {
  request: number;
  taken?: boolean;
  status?: number;
  body?: unknown;
}

interface IOpen {
  settle(answer: IAnswer): void;
  taken(): void;
}

const TAKEN_MS = 1000;
const ANSWER_MS = 5000;

function parsed<T>(value: unknown): T | null {
  if (typeof value !== 'string' || !value) {
    return null;
  }
  try {
    return JSON.parse(value) as T;
  } catch {
    return null;
  }
}

/** The kernel of the notebook that this panel stands in: state by traits, actions by messages, and by the server where there is one. */
export class Kernel implements ITransport {
  readonly kind = 'kernel';
  private open = new Map<number, IOpen>();
  private count = 0;
  private sink: ISink | null = null;
  private heard = 0;

  constructor(
    private readonly model: IModel,
    private readonly element: HTMLElement
  ) {}

  start(sink: ISink): () => void {
    this.sink = sink;
    const state = () => this.deliver();
    const prices = () => this.deliverPrices();
    const answer = (content: IAnswer) => this.answered(content);
    this.model.on('change:state', state);
    this.model.on('change:prices', prices);
    this.model.on('msg:custom', answer);
    this.deliver();
    this.deliverPrices();
    return () => {
      this.sink = null;
      this.model.off('change:state', state);
      this.model.off('change:prices', prices);
      this.model.off('msg:custom', answer);
    };
  }

  async ask<T>(route: string, body: object, waiting?: () => void): Promise<T> {
    const lent = borrow(this.element, route, body, notebookOf(parsed<IState>(this.model.get('state'))?.jobs.items, body));
    if (lent) {
      try {
        return (await lent) as T;
      } catch (error) {
        // 404: the server has no gpuplug, or does not know what this kernel knows; anything else it has decided.
        if (!(error instanceof Refused) || error.status !== 404) {
          throw error;
        }
      }
    }
    return this.send<T>(route, body, waiting);
  }

  look(look: ILook): void {
    const asked = this.heard;
    this.model.send({ request: ++this.count, route: 'looking', body: { client: 'widget', ...look } });
    setTimeout(() => this.sink?.link(this.heard > asked ? 'live' : 'waiting'), ANSWER_MS);
  }

  notebook(): string | null {
    return null;
  }

  private send<T>(route: string, body: object, waiting?: () => void): Promise<T> {
    const request = ++this.count;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => waiting?.(), TAKEN_MS);
      this.open.set(request, {
        taken: () => clearTimeout(timer),
        settle: answer => {
          clearTimeout(timer);
          this.open.delete(request);
          if ((answer.status ?? 500) < 300) {
            resolve(answer.body as T);
          } else {
            reject(new Refused(answer.body as IRefusal, answer.status ?? 500));
          }
        }
      });
      this.model.send({ request, route, body });
    });
  }

  private answered(answer: IAnswer): void {
    this.heard += 1;
    this.sink?.link('live');
    const open = this.open.get(answer.request);
    if (answer.taken) {
      open?.taken();
    } else {
      open?.settle(answer);
    }
  }

  private deliver(): void {
    const state = parsed<IState>(this.model.get('state'));
    if (state) {
      this.heard += 1;
      this.sink?.state(state);
    }
  }

  private deliverPrices(): void {
    const prices = parsed<IPrices>(this.model.get('prices'));
    if (prices) {
      this.sink?.prices(prices);
    }
  }
}
