"""What srvctl adds to a server of the hierarchy, mixed in before it by `srvctl.worker.assemble` alone.

::

    Conversations     the table: who is being served, counters, and where faults are caught
      Deadlines       conversations that last too long, or on which nothing moves
        Draining      the stop in order
          StreamServing, DatagramServing         by what a request is
          InPlace         requests are served where they are taken
            SyncServing, ThreadServing           in the loop, or in the threads of a pool
          ChildServing    child processes serve requests
            SpareServing                         of which one is forked ahead
              ForkServing                        forked ones, by the handler
            Reaping                              where the process has no others
              ProgramGroups                      programs, each with a process group of its own
                ProgramStarts                    started in threads that do nothing else
                  StreamPrograms, DatagramPrograms, WaitingPrograms

Nothing in here knows of the supervisor: who runs a server calls `drain` and reads `figures`.
"""
