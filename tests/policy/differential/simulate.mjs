// Reads one simulation per line (JSON), writes one answer per line: Allowed, ExplicitlyDenied, ImplicitlyDenied,
// or the errors for which the simulator refused it.
import { createInterface } from 'node:readline'
import { runSimulation } from '@cloud-copilot/iam-simulate'

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await runSimulation(JSON.parse(line), {})
  console.log(JSON.stringify(answer.resultType === 'error' ? answer.errors : answer.overallResult))
}
