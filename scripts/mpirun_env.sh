# Sourced by what starts mpirun: `. scripts/mpirun_env.sh RANKS [GRACE_S]`. Sets the Open MPI
# variables that this machine needs for that many ranks, and no others.
#   GRACE_S  seconds that ranks get to save after mpirun itself gets SIGTERM or SIGINT. Open MPI's
#            default is 1. It waits for them twice, also after a rank died, so keep it small.
# shellcheck shell=bash

if [ "$(id -u)" = 0 ]; then  # containers: mpirun refuses to run as root otherwise
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# A slot is a physical core that we may use; a rank that waits must not keep another from running.
physical_cores=$(lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)
if [ "${1:?ranks}" -gt "$physical_cores" ] || [ "$1" -gt "$(nproc)" ]; then
  export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
fi
if [ -n "${2:-}" ]; then
  export OMPI_MCA_odls_base_sigkill_timeout=$2
fi
