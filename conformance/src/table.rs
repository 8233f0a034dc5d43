//! The one table of cases.
//!
//! Each line is `need name`. `any`: true of every unit. `identity`: depends on thread identity, so it is not promised
//! for light coroutines, which share their worker's thread-locals. `coroutine`: promised for coroutines and not by OS
//! threads. `isolated`: about isolated coroutines alone.
//!
//! The table is a macro that hands its lines to another macro, since `#[test]` functions can only be made from tokens
//! (`suite.rs`). First come the topics about std, libc and unmodified crates, then those about silken's own types.

/// Calls `$callback` with `$args` and the table.
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
                    any cmp_requeue;
                    any handmade_mutex;
                }
                process {
                    any output;
                    any wait_lets_others_run;
                    any through_a_child;
                    any kill;
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
                chan {
                    any fifo_order;
                    any fifo_per_sender;
                    any many_to_many;
                    any rendezvous_sender_waits;
                    any rendezvous_receiver_waits;
                    any rendezvous_ping_pong;
                    any rendezvous_try_forms;
                    any waiting_message_comes_after_queued;
                    any bound_is_never_exceeded;
                    any bound_holds_for_try_send;
                    any blocked_sender_gets_value_back;
                    any all_blocked_senders_get_values_back;
                    any blocked_receivers_see_disconnect;
                    any disconnect_takes_the_last;
                    any drain_after_senders_left;
                    any send_without_receiver;
                    any receivers_end_drops_messages;
                    any drops_are_exact;
                    any message_drop_uses_the_channel;
                    any close_lets_drain;
                    any close_wakes_both_sides;
                    any close_happens_once;
                    any panic_disconnects;
                    any one_message_per_receiver;
                    any send_timeout_expires;
                    any recv_timeout_expires;
                    any timeouts_deliver;
                    any deadline_in_the_past;
                    any lengths;
                    any counts_follow_clones;
                    any same_channel;
                    any iterators_end;
                    any try_iter_does_not_wait;
                    any zero_sized_messages;
                    any large_messages;
                    any macro_forms;
                }
                chan_storm {
                    any fan_in;
                    any fan_out;
                    any ring;
                    any pipeline;
                    any pipeline_ends_from_its_tail;
                    any prime_sieve;
                    any request_and_reply;
                    any tokens_limit_units;
                    any with_os_thread;
                    any across_kinds;
                    any ends_come_and_go;
                    any recv_timeout_races;
                    any send_timeout_races;
                    any storm;
                    any detached_units_go_on;
                }
                select {
                    any ready_arm_is_taken;
                    any waits_for_the_first;
                    any exactly_one_happens;
                    any exactly_one_happens_after_a_wait;
                    any no_message_is_lost;
                    any many_selectors;
                    any fair_among_ready;
                    any biased_takes_the_first;
                    any default_runs_if_nothing_is_ready;
                    any timeout_expires;
                    any timeout_is_cut_short;
                    any timeouts_race_messages;
                    any send_arm_waits;
                    any unsent_message_is_dropped;
                    any crosswise_rendezvous;
                    any one_channel_against_each_other;
                    any does_not_meet_itself;
                    any disconnected_arm_is_ready;
                    any disconnect_wakes;
                    any clock_arms;
                    any same_channel_twice;
                    any bodies_leave;
                    any patterns_refuse;
                    any loop_until_both_end;
                    any nested;
                    any evaluated_once_in_order;
                    any std_named_arms;
                }
                select_dynamic {
                    any many_arms;
                    any every_arm_wakes;
                    any fair_among_ready;
                    any biased_takes_the_first;
                    any unsent_messages_come_back;
                    any send_arms_wait;
                    any removed_arm_is_gone;
                    any limits_expire;
                    any unasked_operation_drops;
                    any clock_arms;
                    any multiplexer;
                    any storm;
                }
                oneshot {
                    any value_arrives;
                    any sender_leaves;
                    any receiver_leaves;
                    any receiver_closes;
                    any timeout_then_value;
                    any races;
                    any many;
                }
                broadcast {
                    any everyone_gets_everything;
                    any one_send_wakes_all;
                    any lag_is_counted;
                    any late_receiver;
                    any no_receivers;
                    any senders_leave;
                    any timeout_expires;
                    any sender_waits_for_the_last_receiver;
                    any drops_are_exact;
                    any sums_add_up;
                }
                watch {
                    any change_is_heard;
                    any changes_coalesce;
                    any looking_is_not_seeing;
                    any everyone_hears;
                    any last_change_then_end;
                    any no_receivers;
                    any silent_changes;
                    any sender_waits_for_the_last_receiver;
                    any readers_do_not_starve_the_sender;
                    any values_only_go_forward;
                    any timeout_is_cut_short;
                }
                ticker {
                    any never_early;
                    any first_tick;
                    any burst_makes_up;
                    any delay_moves_on;
                    any skip_keeps_the_rhythm;
                    any stop_wakes_who_waits;
                    any reset_reaches_who_waits;
                    any reset_puts_off;
                    any tick_timeout_expires;
                    any shared_ticks_go_to_one;
                }
                own_time {
                    any sleep_is_never_early;
                    any sleep_until_the_past;
                    any sleeps_overlap;
                    any function_runs_once;
                    any stop_prevents;
                    any stop_comes_late;
                    any reset_brings_near;
                    any reset_puts_off;
                    any reset_starts_again;
                    any functions_may_block;
                    any many_functions;
                }
                cancel {
                    coroutine sleep_unwinds;
                    coroutine park_unwinds;
                    coroutine recv_unwinds;
                    coroutine clock_recv_unwinds;
                    coroutine send_unwinds;
                    coroutine select_unwinds;
                    coroutine join_unwinds_the_caller;
                    coroutine other_channels_unwind;
                    coroutine tick_unwinds;
                    coroutine check_points_unwind;
                    coroutine own_cancellation;
                    coroutine before_and_after;
                    coroutine ready_operations_succeed;
                    coroutine mask_puts_off;
                    coroutine catching_is_in_vain;
                    coroutine destructors_may_wait;
                    coroutine no_ghosts;
                    coroutine races_with_messages;
                    coroutine races_with_room;
                    coroutine scope_cancels_children;
                    coroutine std_sleep_is_cut_short;
                    coroutine socket_read_fails;
                    coroutine std_lock_is_waited_for;
                    coroutine many;
                }
                deadline {
                    any expires;
                    any value_is_the_answer;
                    any channel_waits_end;
                    any other_waits_end;
                    any message_is_not_lost;
                    any races_with_messages;
                    any nested;
                    any past_deadline;
                    any time_left;
                    any children_inherit;
                    any masked;
                    any panic_passes;
                    any units_do_not_mix;
                }
                scopes {
                    any children_borrow;
                    any children_are_joined;
                    any nested;
                    any body_panics;
                    any child_panics;
                    any cancel_on_panic;
                    any cancel_children;
                    any deferred_runs_last;
                    any children_talk;
                    any many_scopes;
                }
                joins {
                    any value;
                    any many_wait_for_one;
                    any timeout_gives_the_handle_back;
                    any panic_is_an_error;
                    any result_is_dropped_once;
                    any park_and_unpark;
                    any promise_has_one_outcome;
                }
                std_names {
                    any many_producers;
                    any senders_leave;
                    any receiver_leaves;
                    any back_pressure;
                    any try_forms;
                    any recv_timeout_expires;
                    any unreceived_values_are_dropped;
                    any request_and_reply;
                    any spsc_order_and_ends;
                    any mpmc_consumers_share;
                }
            }
    };
}
