// N ranks as threads of one process: the back-end of the tests.
//
// Same algorithms and checks as under MPI, same bits. A rank that fails makes all that wait for it
// throw, so that a test ends instead of hanging.
#pragma once

#include <memory>
#include <string>

#include "parallel/communication_options.h"
#include "parallel/communicator.h"

namespace moesaic::parallel {

class ThreadWorld {
 public:
  explicit ThreadWorld(int size, CommunicationOptions options = {});
  ~ThreadWorld();

  int size() const;
  /// The world communicator of `rank`; once per rank. It may outlive this object.
  CommunicatorPtr communicator(int rank);
  /// Makes every operation of any rank that cannot complete any more throw
  /// CommunicationError("rank R failed: what"). Any thread.
  void fail(int rank, const std::string& what);

 private:
  class Mailboxes;
  class MailTransport;
  class MailRequest;
  const std::shared_ptr<Mailboxes> mailboxes_;
  const CommunicationOptions options_;
};

/// The world of a process that runs alone.
CommunicatorPtr make_single_communicator();

}  // namespace moesaic::parallel
