import { IJob, Refused } from './contract';

export const CANCEL = 'actions/cancel';

/** The ledger's name of the notebook whose job `body` asks to cancel; `null`: not known here. */
export function notebookOf(jobs: readonly IJob[] | null | undefined, body: object): string | null {
  const { job } = body as { job?: unknown };
  return jobs?.find(each => each.id === job)?.notebook ?? null;
}

/** Tell whether gpuplug's server has said no; else it is missing, ill or out of reach, and what it would do is to be done without it. */
export function isDecided(error: unknown): boolean {
  return error instanceof Refused && error.status < 500 && error.refusal.reason !== undefined;
}

/** Tell whether the ledger calls the notebook at `path` of the file browser `name`: its stem, and a digest that only the server can make. */
export function isNamed(path: string, name: string): boolean {
  const stem = (path.split('/').pop() ?? '').replace(/(?<=.)\.[^.]*$/, '');
  const start = [...stem].slice(0, 40).join('') || 'notebook';
  return name.replace(/-[0-9a-f]{8}$/, '') === start.split(/\s+/).join(' ').trim();
}
