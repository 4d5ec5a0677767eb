"""Which test types the command that a message names, in the state that the message is about, and sees that it helps.

A message is found by any part of it. Messages with the same cure for the same trouble share a test.
"""

_CURES = "tests/integration/tasks/test_cures.py::"
_SVM = "tests/integration/svm/"
_PLC = "tests/integration/plc/"
_LAB = "tests/acceptance/operator/"
_OPERATOR = _LAB + "test_operator.py::"
_RESTORE = _LAB + "test_restore.py::"
_TASKS = "tests/integration/tasks/"

TRIED: dict[str, tuple[str, ...]] = {
    "tests/acceptance/test_main_job.py::test_login_to_every_node": ("Who may log in is kept outside",),
    "tests/integration/frontdoor/test_forwarding.py::test_what_failed_for_a_while_works_again": (
        "this node cannot open it now; try again later",
        "this node cannot forward now; try again later",
        "the sliver did not answer in time; try again",
    ),
    "tests/unit/svm/test_login.py::test_what_the_slice_decides_is_not_for_the_user": ("svm ssh sets -{} itself",),
    "tests/acceptance/test_web.py::test_the_link_works_once_and_nothing_else_does": ("svm web",),
    _LAB + "test_web_operator.py::test_only_who_has_the_link_comes_in_and_no_other_site_changes_anything": (
        "dslice web",
    ),
    # Letters and hooks
    _SVM + "test_links.py::test_what_the_page_and_the_letter_say_can_be_typed": (
        "The same from the command line: <code>svm renewslice {}</code>",
        "To have it renew itself:  svm autorenew {} on",
    ),
    _SVM + "test_links.py::test_after_the_deadline": ("To renew them: svm renewslice {}.",),
    _SVM + "test_links.py::test_links_that_are_not_ours": (
        "or type svm renewslice with the slice's name",
        "svm slices shows your slices",
    ),
    _SVM + "test_links.py::test_without_the_owner_s_permission": ("Type svm renewslice {}, which renews the leases",),
    _SVM + "test_links.py::test_what_could_not_be_extended_is_said": (
        "For the others: svm renewslice {}",
        "svm status {} shows how it stands",
    ),
    _SVM + "test_hooks.py::test_one_is_added_listed_and_removed": (
        "has no hooks; add one with: svm hook {} add URL",
        "svm hook SLICE list shows those it has",
    ),
    _SVM + "test_hooks.py::test_eleven_are_too_many": ("remove one with svm hook SLICE remove URL",),
    _SVM + "test_hooks.py::test_a_test_that_nobody_takes": ("see: svm hook {} list",),
    "tests/integration/slivers/test_root.py::test_what_only_a_reset_mends_says_so": (
        "svm reset {} {} gives it a fresh one",
    ),
    "tests/integration/slivers/test_root.py::test_what_has_lost_its_files_is_given_back_and_made_anew": (
        "svm shrink {} NODE gives it back, and svm createslice makes another",
    ),
    "tests/integration/slivers/test_root.py::test_who_has_lost_sudo_is_told_what_gives_it_back": (
        "if it has lost that, svm reset SLICE NODE gives it back",
    ),
    # Slices
    _CURES + "test_a_slice_that_is_half_made": (
        "svm createslice FILE, with the same file, makes what is lacking",
        "tickets: svm createslice, or newleases and newvms, go on with it",
    ),
    _CURES + "test_leases_that_have_ended": (
        "its {}: svm createslice with the same file makes its VM anew",
        "holds no lease to renew: svm createslice FILE makes it anew",
        "nodes have ended: svm createslice FILE makes their VMs anew",
        "No lease is left: svm createslice with the same file makes the VMs anew",
    ),
    _CURES + "test_newvms_before_newleases": ("it has no lease yet: svm newleases {} {}",),
    _CURES + "test_a_node_that_failed_for_a_while": (
        "Try again with:",
        "took more than {} s; try again",
        "ended while the sliver started; try again",
        "no answer within {} s: try again",
        "ask for fewer or try again later",
    ),
    _CURES + "test_a_lease_that_ends_soon": ("svm renewslice {} keeps it", "To keep it:  svm renewslice {}"),
    _CURES + "test_keys_that_a_node_has_not_got": (
        "the addkey, delkey or nukekeys that changed them sends them when repeated",
        "running without their keys, which are sent again in a while; or use svm addkey",
    ),
    _CURES + "test_a_pair_that_a_node_has_not_got": ("svm rekey {slice} gives all of them a new one",),
    _CURES + "test_a_vm_that_its_node_has_lost": ("svm deleteslice {slice}, then svm createslice FILE, make it anew",),
    "tests/unit/nodemgr/test_keys.py::test_an_older_key_set_is_refused_and_the_same_one_is_not": (
        "are at generation {}; run the command again",
    ),
    "tests/unit/nodemgr/test_pairs.py::test_an_older_pair_never_comes_back": (
        "on this node has generation {}; run the command again",
    ),
    _CURES + "test_a_vm_that_has_ended_by_itself": (
        "starts it, with its files and keys",
        "has no VM on this node; svm newvms makes it",
    ),
    _CURES + "test_a_vm_that_was_stopped": ("of them stopped: svm start {} starts them", "svm start {} {} starts it"),
    _CURES + "test_start_before_newvms": ("it has no VM yet: svm newvms {} {} makes it",),
    _CURES + "test_a_slice_of_another_size": (
        "use that file to go on; svm createslice FILE changes it",
        "without a node: svm deleteslice {} ends it",
    ),
    _CURES + "test_a_silent_node_of_a_slice": ("svm heal {} on has another node take its place",),
    _CURES + "test_a_slice_that_is_being_deleted": (
        "svm deleteslice {} asks again, and what is left ends with its lease",
        "is being deleted: svm status {} shows what is left",
    ),
    _CURES + "test_autorenew_that_ends_with_the_certificate": (
        "plkeygen --renew and then svm delegate {} extend it",
        "To go on:  plkeygen --renew   and then   svm autorenew {} on",
        "plkeygen --renew asks for the next",
        "svm delegate {} extends it",
    ),
    _CURES + "test_a_delegation_that_has_ended": ("svm delegate {} gives one, for svmd to act by itself",),
    _CURES + "test_an_autorenew_that_has_ended_with_the_delegation": (
        "svm autorenew {} on signs",
        "svm heal {} on signs one",
        "To go on:  svm autorenew {} on",
        "has not renewed itself since {}: svm history {} says why",
    ),
    _CURES + "test_an_autorenew_that_ends_soon": ("svm autorenew {} on goes on",),
    _CURES + "test_a_permission_that_has_ended": (
        "permission has ended: run the command again to give it",
        "needs the owner's delegation; run the command again",
    ),
    _CURES + "test_a_slice_without_its_key_pair": ("svm deleteslice {}, then svm createslice FILE, give it one",),
    _CURES + "test_an_operation_in_the_way": (
        "is under way on {}: svm watch {} follows it",
        "svm watch {} follows it",
        "{}; svm history {} may say more",
    ),
    _CURES + "test_a_slice_that_is_complete": ("renewslice and addkey work on it, deleteslice ends it",),
    _CURES + "test_no_slice_and_no_vm": (
        "svm slices lists yours",
        "see yours with svm slices",
        "make one with: svm createslice FILE",
        "see: svm status {}",
        "see: svm nodelist {}",
        "see: svm history {}",
        "as svm status prints them",
        "svm status {} lists them",
    ),
    _TASKS + "test_faults.py::test_delete_of_an_unreached_node_is_finished_later": (
        "is still on this node; try again when it ended",
    ),
    _TASKS + "test_faults.py::test_a_lost_answer_and_then_the_command_again": (
        "no whole answer from {} within {} s; try again",
        "the body of the request did not come within {} s; try again",
        "plc took too long to register the slice's name; try again",
        "is being created at this moment: try again",
    ),
    _TASKS + "test_needs.py::test_as_it_is_typed": ("slivers of this node have no root inside",),
    _TASKS + "test_needs.py::test_asked_for_less_it_is_made": ("svm getads --long shows what there is",),
    _TASKS + "test_needs.py::test_a_slice_that_holds_nodes_keeps_its_needs": (
        "use that file to go on, or svm deleteslice {} first",
    ),
    "tests/unit/nodemgr/test_needs.py::test_a_sliver_with_other_needs_has_to_end_first": (
        "still has a sliver with other needs on this node; try again when that ended",
    ),
    # Images
    "tests/integration/admin/test_images.py::test_names_that_are_taken_or_not_there": (
        "there is an image {} already: choose another name",
        "dslice image list shows what there is",
    ),
    "tests/integration/admin/test_images.py::test_an_image_in_use_goes_when_its_slivers_have": (
        "is in use by {} on {}{}: try again when they are gone",
        "what node {} uses cannot be read now ({}); try again",
    ),
    # Keys
    _SVM + "test_key_files.py::test_a_groups_file_is_one_operation": ("svm status shows them",),
    _PLC + "test_pluserinfo.py::test_the_keys_alone_are_a_line_each_fit_for_addkey": ("pluserinfo --add-key FILE",),
    "tests/acceptance/test_howto.py::test_addkey_then_ssh": ("svm addkey {} KEYFILE",),
    # That one gets in and can write; what is deleted there is the user's choice.
    "tests/acceptance/test_main_job.py::test_svm_ssh_and_run": ("svm ssh {slice} {node} lets you delete",),
    # Following
    _SVM + "test_following.py::test_ctrl_c_and_watch": (
        "the request may have reached svmd; see: svm watch {}",
        "it continues; follow it with: svm watch {}",
        "no operation {}; see: svm watch SLICE",
    ),
    "tests/acceptance/test_python.py::test_ctrl_c_ends_the_waiting_only": (
        "it continues; follow it with: svm watch {}, or Slice({}).wait()",
    ),
    _SVM + "test_following.py::test_cancel": ("steps already under way are being completed: svm watch {}",),
    _SVM + "test_following.py::test_svmd_is_away": (
        "'s database does not answer; try again in a minute",
        "plc knows no service manager yet; start svmd, or try again in a minute",
        "plc knows no agent yet; start one, or try again in a minute",
        "does not answer ({}); try again later",
    ),
    _SVM + "test_refusals.py::test_an_old_revocation_list": ("try again when plc answers",),
    _SVM + "test_refusals.py::test_more_than_five_minutes_old": ("check your clock and try again",),
    "tests/unit/svm/test_start.py::test_a_surprise_is_one_line_unless_debug": ("try again, with --debug to see",),
    # Certificates
    _PLC + "test_plkeygen.py::test_the_howto_at_a_terminal": (
        "no certificate in {}: run plkeygen, and plkeygen --refresh once it is approved",
        "no certificate yet; run plkeygen",
        "Do a 'plkeygen --refresh' once you receive a reply.",
        "Download it:  plkeygen --refresh",
        "Ask for your certificate:  plkeygen",
        "there is no {}; run plkeygen (people)",
        "get one with plkeygen (services",
        "get a certificate with plkeygen (services",
        "no CA is known to check the server by; run plkeygen first",
        "there is no key in {}: run plkeygen first",
    ),
    _PLC + "test_plkeygen.py::test_the_way_back_after_the_end": (
        "run plkeygen to ask for a new one",
        "get a new one with plkeygen",
    ),
    _PLC + "test_plkeygen.py::test_the_way_back_after_the_flag_was_lost": (
        "this certificate is revoked; ask for a new one with plkeygen",
        "was revoked ({}); run plkeygen again",
        "Ask for a certificate without that privilege:  plkeygen",
    ),
    _PLC + "test_plkeygen.py::test_renew_keeps_the_key_and_rotate_revokes_the_old_certificate": (
        "Renew it: plkeygen --renew",
        "Get the next one:  plkeygen --renew",
        "Have it written into your certificate:  plkeygen --renew",
    ),
    _PLC + "test_plkeygen.py::test_a_denied_request_says_why": ("or ask again with:  plkeygen",),
    _PLC + "test_plkeygen.py::test_a_key_without_a_request_and_another_users_email": ("with this key; run plkeygen",),
    _PLC + "test_plkeygen.py::test_a_key_that_is_none": ("move it away and run plkeygen", "make one with plkeygen"),
    _PLC + "test_plkeygen.py::test_a_wrong_password_sends_nothing_and_the_next_try_uses_the_same_key": (
        "wrong e-mail or password; try again",
        "too many log in at this moment; try again in a few seconds",
    ),
    _PLC + "test_certificates.py::test_after_five_failures_one_waits": ("wait {} s and try again",),
    _PLC + "test_certificates.py::test_another_keys_proof": ("run plkeygen --refresh again",),
    # plc's operator: nodes, slices, backups
    _OPERATOR + "test_a_node_that_never_advertised_is_named": (
        "dslice nodes --silent says since when",
        "is enrolled; dslice nodes lists them",
    ),
    _OPERATOR + "test_slices_and_one_slice": ("; dslice slices lists all",),
    _OPERATOR + "test_evict": (
        "dslice slice {} lists them, dslice orphans those that no table knows",
        "See how they stand:  svm status {}",
        "See what is left:  svm status {}",
    ),
    _OPERATOR + "test_drain_has_slices_that_heal_move": ("To have a slice heal:  svm heal {} on",),
    _OPERATOR + "test_delete": ("See what happened:  svm history {}",),
    _OPERATOR + "test_retire_and_evict": (
        "first dslice node drain {} --reason WHY",
        "see that beat and a worker run, then try again, or say --lost",
    ),
    _OPERATOR + "test_an_admin_does_it_from_anywhere_and_nobody_else": ("was made one since then: plkeygen --renew",),
    _RESTORE + "test_what_was_made_since_is_an_orphan_which_one_command_frees": (
        "dslice orphan free NODE SLICE --reason WHY, or --all, removes them",
        "; dslice orphans lists them",
        "Start the daemons, then: dslice orphans",
    ),
    _RESTORE + "test_it_is_put_back_while_daemons_are_down": (
        "is no backup that dslice backup made",
        "name the folder that dslice backup made",
    ),
    # plc's operator, and services
    _PLC + "test_plcverbs.py::test_requests_are_listed_and_decided": (
        "dslice plc requests lists them",
        "Approve it:  dslice plc approve {}",
    ),
    _PLC + "test_plcverbs.py::test_a_pi_enables_who_signed_up": ("dslice plc --as-me enable {}",),
    "tests/unit/svm/test_overview.py::test_help": ("svm help says a line about each",),
    "tests/integration/admin/test_mistakes.py::test_verbs_before_the_first_start": ("dslice run {} makes them",),
    _PLC + "test_plcverbs.py::test_sites_and_accounts": ("dslice plc sites lists them", "with dslice plc make-admin"),
    _PLC + "test_plcverbs.py::test_a_token_lets_a_service_in": (
        "get a token with dslice plc token",
        "get another with dslice plc token",
        "copy the whole line of dslice plc token",
        "get a token on plc's machine with 'dslice plc token {} {} ADDRESS'",
        "users run plkeygen",
    ),
    # The testbed
    "tests/acceptance/test_testbed.py::test_ps_lists_every_process_with_its_role_and_address": ("see dslice ps",),
    "tests/acceptance/test_testbed.py::test_stop_and_start": ("or 'dslice start NAME'",),
    "tests/acceptance/test_testbed.py::test_env_makes_a_shell_that_just_works": ("; svm getads",),
    "tests/acceptance/test_testbed.py::test_ctrl_c_in_the_foreground_ends_all_of_it": (
        "(dslice password {})",
        "start one with 'dslice up'",
        "start it with 'dslice up'",
        "database does not answer: start it with dslice up",
        "'dslice up' enrols again",
        "'dslice up --simulated M' starts some",
    ),
    "tests/acceptance/test_testbed.py::test_a_second_up_in_the_same_home_is_refused_in_one_line": (
        "end it with 'dslice down'",
        "end a testbed with 'dslice down'",
        "'dslice down' ends them",
        "end it with 'dslice down --home {}'",
        "End it: {}/dslice down --home {}",
    ),
    "tests/integration/testbed/test_embedded.py::test_a_server_that_cannot_start_says_why": (
        "('dslice doctor' looks for what is missing)",
    ),
    # Bounds
    "tests/integration/lifecycle/test_bounds.py::test_one_owner_has_so_many_slices": (
        "you have {} slices, the limit; delete some with svm deleteslice",
    ),
    "tests/integration/lifecycle/test_bounds.py::test_a_slice_has_so_many_keys": (
        "a slice has at most {} keys; remove some with svm delkey first",
    ),
    "tests/unit/nodemgr/test_bounds.py::test_who_is_no_pi_makes_a_bounded_number_of_rows_and_pushes_nobody_out": (
        "were used or given up here; try again in an hour",
    ),
    # Nodes and roles that are not well
    "tests/integration/lifecycle/test_steps.py::test_what_is_said_of_a_deletion_under_way_can_be_done": (
        "svm watch SLICE follows it to its end",
    ),
    "tests/integration/testbed/test_start.py::test_a_process_that_stays": ("'dslice start {process}' on a testbed",),
    "tests/integration/frontdoor/test_broken.py::test_a_command_that_cannot_be_started_ends_with_a_word": (
        "this session broke on the node; try again",
    ),
    "tests/integration/limits/test_disk.py::test_a_disk_that_is_in_use_is_waited_for_and_then_refused": (
        "the sliver's disk is still in use ({}); try again in a minute",
    ),
    "tests/integration/slivers/test_damage.py::test_a_record_that_cannot_be_read_costs_its_own_sliver_alone": (
        "is damaged ({}); svm newvms {}",
    ),
    "tests/integration/nodemgr/test_full_disk.py::test_a_sliver_that_fills_the_disk_takes_nothing_from_the_others": (
        "; try again later, or take another node",
        "the disk of the service is full; try again later",
    ),
    # No command of ours helps here, but the same one after what the message says
    "tests/unit/svm/test_slicefile.py::test_not_xml": ("correct it and try again",),
    "tests/integration/slivers/test_life.py::test_a_dead_sliver_is_started_again_by_create": (
        "install it (Debian: {}) and try again",
    ),
}

NO_CURES = (
    "makes, uses and deletes slices",
    "dslice agent",
    "dslice svmd",
    "dslice links",
    "is this a dslice service?",
    "is it a dslice service?",
    "dslice {}",
    "needs a public key",
    "svm cancel",
    "is not a directory of svmd, svm and agents",
    "use svm to ask",
    "was withdrawn (svm undelegate): sign a new one",  # of an older svm than svmd: the command line signs anew
    "pinned by plkeygen",
    "A certificate: plkeygen, approval, plkeygen --refresh",
    "dslice down failed",
    "svm getads answers",
    "'dslice down' before you remove it",
    "adm admin administrator",  # names that no slice may have
)
"""Parts of texts that name a command and no cure: titles, and what an API's caller did wrong."""
