# Run at every build: writes OUTPUT with the versions, but touches it only when they change.
execute_process(COMMAND git -C ${SOURCE_DIR} describe --always --dirty --abbrev=12
  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT revision)
  set(revision "unknown")
endif()
file(WRITE ${OUTPUT}.new
"#pragma once
#define MOESAIC_VERSION \"${VERSION}\"
#define MOESAIC_GIT_REVISION \"${revision}\"
#define MOESAIC_TORCH_VERSION \"${TORCH_VERSION}\"
#define MOESAIC_MPI_VERSION \"${MPI_VERSION}\"
")
file(COPY_FILE ${OUTPUT}.new ${OUTPUT} ONLY_IF_DIFFERENT)
