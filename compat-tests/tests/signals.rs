//! What signals interrupt, and what handlers may call.

use compat_tests::both::Case;
use compat_tests::cases;

fn case(name: &'static str) -> Case {
    Case::new("signals", name)
}

cases! {
    signals_interrupt_and_restart_like_the_kernels => case("interruptions");
    a_receive_with_a_limit_is_not_restarted => case("limit_is_not_restarted").sends_nothing();
    waits_with_a_mask_let_signals_in => case("mask");
    a_storm_of_signals_loses_nothing => case("storm").bind("group");
    handlers_may_send_and_receive => case("calls_in_handler").bind("group");
    arrivals_raise_sigio => case("asynchronous");
    leaving_from_a_handler_holds_no_lock => case("leaves_from_handler").bind("group");
}
