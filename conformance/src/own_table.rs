//! The table of cases about what silken itself offers to wait for: channels, select, timers, locks, cancellation and
//! scopes. Its lines are as those of `table.rs`. Nearly all are `any`: these types work for light coroutines, which
//! share their worker's thread-locals, and for OS threads as well; those about being cancelled are for coroutines.

/// Calls `$callback` with `$args` and the table of silken's own.
#[macro_export]
macro_rules! for_each_own_case {
    ({$($callback:tt)*} $args:tt) => {
            $($callback)*! {
                $args
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
                grow {
                    any deep_recursions;
                    identity waits_of_std;
                    identity ping_pong;
                    any panics_pass;
                    coroutine cancelled_on_a_segment;
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
                own_tcp {
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
                own_udp {
                    any recv_from_waits;
                    any read_timeout;
                    any peek;
                    any connected;
                    any many_clients;
                    any shared_socket;
                }
                own_unix {
                    any stream_pair;
                    any listener;
                    any stream_timeouts;
                    any stream_back_pressure;
                    any datagram_pair;
                    any datagram_named;
                    any datagram_timeout;
                }
                own_net {
                    any connect_tries_all;
                    any connect_reports_the_last;
                    any connect_within_a_time;
                    any silent_address_is_overtaken;
                    any halves_have_owners;
                    any halves_end_alone;
                    any shutdown_ends_accept;
                    any shutdown_ends_reads_and_writes;
                    any many_listeners_on_a_port;
                    any vectored_is_whole;
                    any mode_belongs_to_all_handles;
                    any conversions_keep_the_conversation;
                    any full_queue_is_waited_for;
                    any long_backlog_is_waited_for;
                    any acceptors_share_a_listener;
                    any numbers_are_used_again;
                    coroutine cancelled_calls_fail;
                    coroutine deadlines_end_calls;
                    coroutine cancelled_connect_fails;
                }
                own_mutex {
                    any contention_count;
                    any held_over_waits;
                    any try_lock_is_not_inverted;
                    any try_lock_lets_one_in;
                    any lock_timeout;
                    any timeouts_race_unlock;
                    any panic_poisons;
                    any waiter_is_not_starved;
                    any philosophers;
                    any with_os_threads;
                    any mapped_guard;
                    coroutine cancellation_does_not_poison;
                }
                own_rwlock {
                    any readers_share;
                    any writers_exclude;
                    any writer_is_not_starved;
                    any reader_is_not_starved;
                    any try_forms_are_not_inverted;
                    any downgrade;
                    any writer_releases_all_readers;
                    any timeouts;
                    any poisoned_by_writer_only;
                    any poisoned_lock_excludes;
                    any storm;
                }
                own_condvar {
                    any notify_one_wakes_one;
                    any notify_all_wakes_all;
                    any timeout_is_never_early;
                    any timeout_notified;
                    any notification_is_not_stored;
                    any bounded_buffer;
                    any timeouts_race_notifications;
                    coroutine cancelled_waiter;
                }
                own_once {
                    any runs_once;
                    any panic_poisons;
                    any wait_for_another;
                    any once_lock_keeps_one_value;
                    any once_lock_initialises_once;
                    any once_lock_wait;
                    any lazy_is_made_once;
                    any lazy_poison;
                }
                own_semaphore {
                    any permits_limit;
                    any many_permits;
                    any large_is_not_starved;
                    any try_forms_are_not_inverted;
                    any timeouts;
                    any timeouts_race_permits;
                    any add_wakes_several;
                    any close_wakes;
                    any wait_and_post;
                    coroutine cancelled_waiter;
                }
                own_barrier {
                    any rounds_and_leaders;
                    any timeout_leaves;
                    any of_one;
                    any with_os_threads;
                }
                wait_group {
                    any waits_for_all;
                    any panic_leaves;
                    any add_and_done;
                    any members_wait_for_each_other;
                    any timeout_expires;
                }
                notify {
                    any kept_once;
                    any wakes_one;
                    any wakes_all;
                    any timeouts_race_notifications;
                    any timeouts;
                    coroutine cancelled_waiter;
                }
                sync_flag {
                    any fires_for_ever;
                    any timeouts;
                    any races;
                }
                blocker {
                    any token_is_kept;
                    any timeouts;
                    any ping_pong;
                }
                atomic_option {
                    any taken_once;
                    any drops_are_exact;
                    any one_value_goes_round;
                }
            }
    };
}
