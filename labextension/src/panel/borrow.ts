import { IJob } from './contract';

/** How a panel inside a notebook asks the JupyterLab around it to send an action by the server's route. */

export const BORROW = 'gpuplug:ask';

export interface IBorrow {
  route: string;
  body: object;
  /** What is to be cancelled; `null`: not known, or something else is asked for. */
  job: IJob | null;
  take(answer: Promise<unknown>): void;
}

/** Ask whoever is around `element`; `null` when nobody is. */
export function borrow(element: HTMLElement, route: string, body: object, job: IJob | null): Promise<unknown> | null {
  let answer: Promise<unknown> | null = null;
  const take = (given: Promise<unknown>) => {
    answer = given;
  };
  element.dispatchEvent(new CustomEvent<IBorrow>(BORROW, { bubbles: true, detail: { route, body, job, take } }));
  return answer;
}
