import { dollars, micros } from '../panel/money';
import { duration, ITranslate } from '../panel/text';
import { IJob } from '../panel/contract';
import { Store } from '../panel/store';

/** The cells that ended between two readings and took at least `least` seconds. */
export function ended(before: readonly IJob[], after: readonly IJob[], least: number): IJob[] {
  const ran = new Set(before.filter(each => each.ended === null).map(each => each.id));
  return after.filter(each => ran.has(each.id) && each.ended !== null && (each.seconds ?? 0) >= least);
}

/** One line on a cell that has ended: how, how long, for how much. */
export function endWords(t: ITranslate, job: IJob): string {
  const how = job.state === 'ok' ? t.__('done') : job.state;
  return t.__('%1: %2 after %3, %4', job.notebook ?? t.__('cell'), how, duration(job.seconds ?? 0), dollars(micros(job.cost_usd), 4));
}

/** Show `text` on the desktop, where the person has allowed it; `false` where it is not shown. Asks for nothing. */
export function desktop(title: string, text: string): boolean {
  if (!('Notification' in window) || window.Notification.permission !== 'granted') {
    return false;
  }
  try {
    new window.Notification(title, { body: text });
  } catch {
    return false; // a telephone's browser has the name and not the thing
  }
  return true;
}

/** Tell of each long cell that ends, whichever notebook it is of: on the desktop while the page is hidden, else by `inPage`. */
export function watchCells(store: Store, settings: { notifyAfterSeconds: number }, t: ITranslate, inPage: (words: string, job: IJob) => void): void {
  let before = store.view.parts?.jobs.items ?? null;
  store.listen(() => {
    const after = store.view.parts?.jobs.items ?? null;
    if (after === before) {
      return;
    }
    const done = settings.notifyAfterSeconds > 0 ? ended(before ?? [], after ?? [], settings.notifyAfterSeconds) : [];
    before = after;
    for (const job of done) {
      const words = endWords(t, job);
      if (!document.hidden || !desktop(t.__('A cell on a GPU has ended'), words)) {
        inPage(words, job);
      }
    }
  });
}

/** Ask the person's browser for the right to show something on the desktop, and say what it answered. */
export async function allowDesktop(t: ITranslate): Promise<string> {
  const answer = await window.Notification?.requestPermission();
  return answer === 'granted'
    ? t.__('The end of a long cell is told on the desktop while this page is hidden.')
    : t.__('The browser does not allow it: the end of a long cell is told in this page only.');
}
