"""What srvctl adds to a server of the hierarchy, mixed in before it by `srvctl.assemble` alone.

::

    Conversations     the table: who is being served, counters, and where faults are caught
      Deadlines       conversations that last too long, or on which nothing moves
        Draining      the stop in order
          StreamServing, DatagramServing         by what a request is
          SyncServing, ForkServing               by how requests are served, where that takes more
          ProgramServing                         by programs, and not by a handler
            StreamPrograms, DatagramPrograms, WaitingPrograms

Nothing in here knows of the supervisor: who runs a server calls `drain` and reads `figures`.
"""
