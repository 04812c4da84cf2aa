# moesaic_add_mpi_test(NAME RANKS COMMAND...): a ctest entry, label `mpi`, that runs COMMAND under
# mpirun. The variables that Open MPI needs come from scripts/mpirun_env.sh, so `ctest` alone works.
function(moesaic_add_mpi_test name ranks)
  add_test(NAME ${name}
    COMMAND bash -c
      ". scripts/mpirun_env.sh ${ranks} && exec mpirun -n ${ranks} --bind-to none \"$@\"" mpirun
      ${ARGN}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES
    LABELS mpi TIMEOUT 180 PROCESSORS ${ranks} ENVIRONMENT OMP_NUM_THREADS=1)
endfunction()
