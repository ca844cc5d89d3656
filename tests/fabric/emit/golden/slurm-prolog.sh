#!/bin/sh
# from fabrics.yaml:24, fabrics.yaml:48, fabrics.yaml:54: fabric platform/tcp
# PrologSlurmctld: a job of no tenant whose grant is in force does not start here. Emit it again when a grant changes.
case $SLURM_JOB_PARTITION in
  gpu) ;;
  *) exit 0 ;;
esac
case $SLURM_JOB_GROUP in
  ml-a) until=1801353600 ;; # team-a, 2027-01-31T00:00:00+00:00
  ml-b) until=1803772800 ;; # team-b, 2027-02-28T00:00:00+00:00
  *) until=0 ;;
esac
[ "$(date +%s)" -lt "$until" ] && exit 0
why="ringfence: group $SLURM_JOB_GROUP has no grant in force for fabric platform/tcp"
logger -t ringfence-slurm "job $SLURM_JOB_ID: $why"
scontrol update JobId="$SLURM_JOB_ID" AdminComment="$why"
exit 1
