import { ServiceManager } from '@jupyterlab/services';
import { IJob } from '../panel/contract';
import { runs } from '../panel/cancel';

/** Interrupt the kernel that runs `job`; `false` when it is not one kernel of this server, for sure. */
export async function interrupt(services: ServiceManager.IManager, job: IJob): Promise<boolean> {
  await services.sessions.refreshRunning();
  const found = [...services.sessions.running()].filter(each => each.kernel && runs(each.kernel.id, each.path, job));
  if (found.length !== 1) {
    return false;
  }
  const session = services.sessions.connectTo({ model: found[0] });
  try {
    await session.kernel?.interrupt();
    return session.kernel !== null;
  } finally {
    session.dispose();
  }
}
