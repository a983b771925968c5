import { defineSearchAttributeKey } from '@temporalio/common';

/** Search attributes of an operation: what the workflow list of the Temporal UI shows. At most 10 Keywords fit. */
export const ATTRIBUTES = {
  cluster: defineSearchAttributeKey('TandemCluster', 'KEYWORD'),
  operation: defineSearchAttributeKey('TandemOperation', 'KEYWORD'),
  deployment: defineSearchAttributeKey('TandemDeployment', 'INT'),
  actor: defineSearchAttributeKey('TandemActor', 'KEYWORD'),
  model: defineSearchAttributeKey('TandemModel', 'KEYWORD'),
  specDigest: defineSearchAttributeKey('TandemSpecDigest', 'KEYWORD'),
  stage: defineSearchAttributeKey('TandemStage', 'KEYWORD'),
  outcome: defineSearchAttributeKey('TandemOutcome', 'KEYWORD'),
  failure: defineSearchAttributeKey('TandemFailure', 'KEYWORD'),
} as const;
