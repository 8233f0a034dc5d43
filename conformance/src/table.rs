//! The table of cases about std, libc and unmodified crates; that about silken's own types is `own_table.rs`.
//!
//! Each line is `need name`. `any`: true of every unit. `identity`: depends on thread identity, so it is not promised
//! for light coroutines, which share their worker's thread-locals. `coroutine`: promised for coroutines and not by OS
//! threads. `isolated`: about isolated coroutines alone.
//!
//! The table is a macro that hands its lines to another macro, since `#[test]` functions can only be made from tokens
//! (`suite.rs`).

/// Calls `$callback` with `$args` and the table of what is not silken's.
#[macro_export]
macro_rules! for_each_case {
    ({$($callback:tt)*} $args:tt) => {
            $($callback)*! {
                $args
                units {
                    any results;
                    any late_join;
                    any many_in_turn;
                    any many_at_once;
                    any nested;
                    any arc_is_freed;
                    any recursion;
                }
                mpsc {
                    identity async_fifo_order;
                    identity async_many_producers;
                    identity recv_after_senders_dropped;
                    identity send_after_receiver_dropped;
                    identity parked_receiver_sees_disconnect;
                    identity parked_sender_sees_disconnect;
                    identity sync_back_pressure;
                    identity sync_try_send;
                    identity rendezvous_waits_for_receiver;
                    identity rendezvous_ping_pong;
                    identity rendezvous_many_producers;
                    identity recv_timeout_expires;
                    identity recv_timeout_delivers;
                    identity recv_timeout_races;
                    identity try_iter_does_not_wait;
                    identity unreceived_values_are_dropped;
                    identity pipeline;
                    identity request_and_reply;
                }
                mutex {
                    any contention_count;
                    any held_over_yield;
                    any held_over_sleep;
                    any poisoned_by_panic;
                    any waiters_see_poison;
                    any try_lock_would_block;
                    any philosophers;
                    any lock_in_drop;
                }
                rwlock {
                    any readers_share;
                    any writers_exclude;
                    any writer_waits_for_reader;
                    any writer_releases_all_readers;
                    any try_forms;
                    any poisoned_by_writer_only;
                }
                condvar {
                    any wait_and_notify_one;
                    any wait_while_returns_open;
                    any wait_timeout_expires;
                    any wait_timeout_notified;
                    any notify_all_wakes_everyone;
                    any notification_is_not_stored;
                    any bounded_buffer;
                    any timeout_races;
                }
                once {
                    any barrier_has_one_leader;
                    any barrier_keeps_rounds_apart;
                    any once_runs_once;
                    any once_poison;
                    any once_lock_one_value;
                    any once_lock_wait;
                    any lazy_lock_once;
                    any lazy_lock_poison;
                }
                park {
                    identity unpark_wakes;
                    identity token_is_kept;
                    identity tokens_do_not_add_up;
                    identity timeout_returns;
                    identity timeout_is_cut_short;
                    identity ring;
                }
                sleep {
                    any never_early;
                    any zero_returns;
                    any sleeps_overlap;
                    any shorter_sleep_overtakes;
                    any ten_thousand_sleepers;
                    any yielders_finish;
                }
                spin {
                    any lock_with_yield_now;
                    any flag_with_sched_yield;
                    any spinners_let_sleepers_wake;
                }
                tls {
                    identity fresh_value;
                    identity value_survives_waits;
                    identity borrow_held_over_sleep;
                    identity rc_stays_local;
                    identity destructor_runs_once;
                    identity destructor_runs_after_panic;
                    identity initialised_at_first_use;
                    identity destructor_uses_another;
                    identity destructor_may_block;
                    identity destroyed_value_is_gone;
                    identity ids_are_distinct;
                    identity id_is_stable;
                    identity errno_is_own;
                }
                ends {
                    identity thread_locals_go_before_keys;
                    identity keys_have_four_rounds;
                    identity key_destructor_uses_a_thread_local;
                    identity c11_keys;
                    identity locale_is_fresh;
                    identity locale_may_be_freed;
                    identity dlerror_is_fresh;
                    identity h_errno_is_fresh;
                    identity robust_mutex_excludes;
                    identity robust_mutex_outlives_its_owner;
                }
                panics {
                    any payload_str;
                    any payload_any;
                    any caught_inside;
                    any caught_after_wait;
                    any unwinding_drops;
                    any others_go_on;
                    identity panicking_is_own;
                    identity many_at_once;
                }
                migration {
                    isolated keeps_thread_locals;
                    isolated keeps_rc;
                    isolated keeps_errno;
                    isolated keeps_current;
                    isolated keeps_guards;
                    isolated keeps_panic_count;
                }
                mixed {
                    any mutex;
                    identity channel;
                    any condvar;
                    any barrier;
                    identity park;
                    any socket;
                    identity thread_join_parks;
                }
                tcp {
                    any echo_once;
                    any many_clients;
                    any accept_waits;
                    any read_timeout;
                    any write_timeout;
                    any timeout_can_be_cleared;
                    any zero_timeout_is_an_error;
                    any timeout_belongs_to_the_socket;
                    any nonblocking_read;
                    any nonblocking_accept;
                    any connect_refused;
                    any connect_timeout;
                    any peek;
                    any vectored;
                    any shutdown_write;
                    any shutdown_wakes_reader;
                    any peer_drop_is_eof;
                    any peer_drop_ends_writer;
                    any full_duplex;
                    any large_transfer;
                    any incoming;
                    any shared_listener;
                    any options;
                    any connect_by_name;
                }
                udp {
                    any recv_from_waits;
                    any read_timeout;
                    any peek;
                    any connected;
                    any many_clients;
                    any shared_socket;
                }
                unix {
                    any stream_pair;
                    any listener;
                    any stream_timeouts;
                    any stream_back_pressure;
                    any datagram_pair;
                    any datagram_named;
                    any datagram_timeout;
                }
                pipe {
                    any read_waits;
                    any writers_end_is_eof;
                    any broken_pipe;
                    any back_pressure;
                    any small_writes_are_atomic;
                    any nonblocking_by_fcntl;
                }
                fd {
                    any churn;
                    any number_is_reused_clean;
                    any close_of_a_duplicate;
                    any emfile_on_accept;
                    coroutine close_under_parked_read;
                }
                libc_io {
                    any nonblocking_by_fcntl;
                    any dontwait_flag;
                    any waitall_flag;
                    any receive_timeout_option;
                    any send_timeout_option;
                    any poll_two;
                    any poll_timeout;
                    any poll_looks;
                    any ppoll_and_select;
                    any epoll;
                    any vectors;
                    any messages;
                    any event_and_timer_descriptors;
                    any sleeps;
                    any regular_file;
                }
                futex {
                    any wait_wake_private;
                    any wait_wake_shared;
                    any wake_count;
                    any value_mismatch;
                    any relative_timeout;
                    any absolute_timeout;
                    any timed_out_is_gone;
                    any bitset_selects;
                    any empty_bitset;
                    any bad_addresses;
                    any requeue_of_a_bad_address;
                    any cmp_requeue;
                    any handmade_mutex;
                }
                ended_receives {
                    any connected_udp_before;
                    any connected_udp_while;
                    any unconnected_udp_before;
                    any unconnected_udp_while;
                    any unix_datagram_before;
                    any unix_datagram_while;
                    any seqpacket_own_side;
                    any seqpacket_peers_side;
                    any queued_messages_come_first;
                    any dontwait_afterwards;
                    any end_and_timeout;
                    any poll_sees_the_end;
                    any all_receivers_hear_it;
                }
                full_queue {
                    any sendto_waits;
                    any sendmsg_with_a_name_waits;
                    any connected_send_waits;
                    any connected_write_waits;
                    any connected_vectors_wait;
                    any poll_for_room;
                    any send_timeout;
                    any nonblocking_sender;
                    any waiting_is_cheap;
                    any slow_reader_gets_all;
                    any receiver_goes_away;
                    any receiver_is_replaced;
                    any both_directions;
                }
                splices {
                    any pipe_to_file;
                    any pipe_to_pipe;
                    any pipe_to_socket;
                    any tcp_to_pipe;
                    any unix_to_pipe;
                    any pipe_to_full_pipe;
                    any pipe_to_full_socket;
                    any file_to_full_pipe;
                    any tee_waits_for_bytes;
                    any tee_waits_for_room;
                    any vmsplice_waits_for_room;
                    any vmsplice_waits_for_bytes;
                    any ends_of_pipes;
                    any nonblock_flag;
                    any nonblocking_descriptors;
                    any offsets;
                }
                sendfiles {
                    any to_a_slow_tcp_reader;
                    any to_a_slow_unix_reader;
                    any to_a_slow_pipe_reader;
                    any to_a_full_pipe_and_socket;
                    any offsets;
                    any nonblocking_socket;
                    any send_timeout;
                    any reader_goes_away;
                    any copy_file_range_counts;
                    any header_then_file;
                }
                batches {
                    any recvmmsg_waits_for_one;
                    any recvmmsg_takes_what_is_there;
                    any recvmmsg_waits_for_all;
                    any recvmmsg_timeout;
                    any recvmmsg_receive_timeout;
                    any sendmmsg_waits_for_room;
                    any sendmmsg_counts_a_part;
                    any preadv2_waits;
                    any pwritev2_waits;
                    any places_and_nonblocking;
                }
                io_copies {
                    any child_to_file;
                    any child_to_socket;
                    any socket_to_child;
                    any file_to_socket;
                    any pipe_to_file_and_pipe;
                    any file_to_file;
                    any relay_with_half_close;
                }
                fifos {
                    any readers_first;
                    any writers_first;
                    identity stream_readers_first;
                    identity stream_writers_first;
                    any nonblocking_open;
                    any opened_again_and_again;
                }
                lingers {
                    any close_waits_for_the_reader;
                    any drop_waits_for_the_reader;
                    any dup2_waits_for_the_reader;
                    any last_duplicate_waits;
                    any shutdown_then_close;
                    any nothing_to_send;
                    any zero_resets;
                    any time_runs_out;
                }
                numbers {
                    any open_makes_it_nonblocking;
                    any timer_is_waited_for;
                    any right_is_waited_for;
                    any right_is_nonblocking;
                    any nonblocking_through_a_second_number;
                    any blocking_through_a_second_number;
                    any dup2_over_a_number_in_use;
                    any nonblocking_set_under_stream_readers;
                    any nonblocking_set_under_other_readers;
                }
                resets {
                    any reset_under_a_tcp_write;
                    any close_under_a_unix_write;
                    any close_under_a_pipe_write;
                    any reset_under_waitall;
                    any reset_under_a_receive;
                    any reset_under_poll;
                    any unread_bytes_reset_a_unix_reader;
                    any reset_for_many_writers;
                    any one_side_is_shut_under_a_unix_write;
                }
                connects {
                    any again_on_one_socket;
                    any send_timeout_on_a_full_backlog;
                    any nonblocking_connect;
                    any unix_backlog_is_waited_for;
                    any send_timeout_on_a_unix_backlog;
                    any unix_listener_goes_away;
                    any accept_without_a_listener;
                    any shutdown_of_a_listener;
                    any receive_timeout_of_a_listener;
                    any shutdown_under_a_connect;
                }
                receive_flags {
                    any peek_waitall_on_unix;
                    any peek_waitall_on_tcp;
                    any waitall_with_credentials;
                    any waitall_with_timestamp;
                    any rights_end_waitall;
                    any waitall_with_a_part;
                    any waitall_without_waiting;
                    any low_water_with_a_part_on_tcp;
                    any low_water_with_nothing_on_tcp;
                    any low_water_with_a_part_on_unix;
                    any low_water_with_nothing_on_unix;
                    any low_water_is_not_reached;
                    any low_water_above_the_request;
                    any low_water_on_datagrams;
                    any low_water_through_a_second_number;
                    any data_comes_before_the_error;
                    any nothing_is_no_datagram;
                    any bytes_are_thrown_away;
                }
                turns {
                    any pings_to_itself;
                    any pings_over_the_loopback;
                    any pipes_that_are_never_empty;
                    any files_without_end;
                    any reads_that_say_eagain;
                    any looks_that_find_nothing;
                    any polls_without_time;
                    any epolls_without_waits;
                    any yields_and_empty_sleeps;
                    any streams_that_never_rest;
                }
                bad_pointers {
                    any reads;
                    any writes;
                    any messages;
                    any batches;
                    any waits;
                    any connects;
                    any offsets;
                    any receives_wait_first;
                    any half_a_buffer;
                }
                poll_files {
                    any file_is_ready;
                    any silent_file_and_a_pipe;
                    any silent_files_anywhere;
                    any silent_file_and_an_end;
                    any silent_files_alone;
                    any many_silent_files;
                    any epoll_refuses_files;
                    any select_beyond_the_table;
                }
                signals {
                    any sigwait_lets_others_run;
                    any pending_signals_are_taken;
                    any sigtimedwait;
                    any sigwaitinfo_brings_values;
                    any many_waiters;
                    any signal_descriptor;
                }
                queues {
                    any each_message_goes_to_one_receiver;
                    any a_full_queue_holds_senders_back;
                    any messages_have_an_order;
                    any timed_forms_give_up;
                    any a_timed_wait_is_ended_by_a_message;
                    any errors_of_queues;
                    any a_number_is_used_again;
                    any kinds_of_messages;
                    any removal_and_errors;
                    any operations_happen_together;
                    any a_timed_operation_gives_up;
                    any a_semaphore_of_c;
                    any a_barrier_of_c;
                }
                disk {
                    any reads_of_what_is_not_in_memory;
                    any a_read_over_pages_that_are_there_and_that_are_not;
                    any reads_at_an_offset;
                    any reads_at_an_offset_with_flags;
                    any readers_share_a_position;
                    any shared_reads_are_not_torn;
                    any refused_reads;
                    any reads_of_the_system;
                    any write_backs;
                }
                held_locks {
                    any flock_waiters;
                    any shared_flock_waiters;
                    any description_lock_waiters;
                    any record_lock_waiters;
                    identity joiners_of_threads;
                    identity chain_of_joiners;
                }
                process {
                    any output;
                    any wait_lets_others_run;
                    any through_a_child;
                    any kill;
                    any forked_child_closes;
                    any child_closes_before_exec;
                    any ids_are_set;
                }
                stdio {
                    identity stderr_lock_excludes;
                    identity stderr_lock_is_reentrant;
                    identity stdout_lines_stay_whole;
                }
                crossbeam {
                    identity unbounded_fifo;
                    identity bounded_many_to_many;
                    identity rendezvous;
                    identity disconnects;
                    identity recv_timeout;
                    identity select_receives;
                    identity select_sends;
                    identity select_default;
                    identity after_fires;
                    identity tick_fires;
                }
                parking_lot_crate {
                    identity mutex_contention;
                    identity mutex_fair_unlock;
                    identity mutex_try_lock_for;
                    identity rwlock;
                    identity rwlock_upgrade;
                    identity condvar;
                    identity condvar_timeout;
                    identity reentrant;
                }
                foreign {
                    identity flume_unbounded;
                    identity flume_bounded;
                    identity flume_rendezvous;
                    identity flume_timeout;
                    identity once_cell_one_value;
                    identity once_cell_lazy;
                }
            }
    };
}
