import { IJob, Refused } from './contract';

export const CANCEL = 'actions/cancel';

/** The job that `body` asks to cancel; `null`: it is not known here. */
export function jobOf(jobs: readonly IJob[] | null | undefined, body: object): IJob | null {
  const { job } = body as { job?: unknown };
  return jobs?.find(each => each.id === job) ?? null;
}

/** Tell whether gpuplug's server has said no; else it is missing, ill or out of reach, and what it would do is to be done without it. */
export function isDecided(error: unknown): boolean {
  return error instanceof Refused && error.status < 500 && error.refusal.reason !== undefined;
}

/** Tell whether this kernel, of the notebook at `path`, is for sure the one that runs `job`: a name alone is no proof. */
export function runs(kernel: string, path: string, job: IJob): boolean {
  return job.kernel ? job.kernel === kernel : Boolean(job.path) && job.path === path;
}
