#!/bin/sh
# Makes the namespace "tandem" and its search attributes. Every step may be repeated. Reads TEMPORAL_ADDRESS.
set -eu
namespace=tandem
retention=90d # How long closed operations stay in the list: the audit.

wait_for() { # COMMAND…: until it succeeds, at most two minutes
  tries=0
  until "$@" > /dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ]; then
      echo "namespace.sh: $TEMPORAL_ADDRESS: still failing after two minutes: $*" >&2
      "$@"
      exit 1
    fi
    sleep 2
  done
}

wait_for temporal operator cluster health
if temporal operator namespace describe --namespace "$namespace" > /dev/null 2>&1; then
  temporal operator namespace update --namespace "$namespace" --retention "$retention"
else
  temporal operator namespace create --namespace "$namespace" --retention "$retention"
fi

# The server learns of a new namespace with a delay, and refuses attributes for it until then.
wait_for temporal operator search-attribute list --namespace "$namespace"
# The same as ATTRIBUTES in workflows/attributes.ts: a test keeps them equal.
for attribute in \
  TandemCluster=Keyword TandemOperation=Keyword TandemDeployment=Int TandemActor=Keyword TandemModel=Keyword \
  TandemSpecDigest=Keyword TandemStage=Keyword TandemOutcome=Keyword TandemFailure=Keyword; do
  temporal operator search-attribute create --namespace "$namespace" --name "${attribute%=*}" --type "${attribute#*=}"
done
