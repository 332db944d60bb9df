import { dollars, micros } from '../panel/money';
import { duration, ITranslate } from '../panel/text';
import { IJob } from '../panel/contract';

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

/** Show `text` on the desktop, where the person has allowed it; `false` where it is not shown. */
export function desktop(title: string, text: string): boolean {
  if (!('Notification' in window) || window.Notification.permission !== 'granted') {
    return false;
  }
  new window.Notification(title, { body: text });
  return true;
}
