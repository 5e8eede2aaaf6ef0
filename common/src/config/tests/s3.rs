//! How requests to S3 are made.

use super::*;

#[test]
fn requests_to_s3_are_made_as_configured() {
    let text = format!(
        "{STORE}[s3]\nca_file = \"/ca.pem\"\nserver_side_encryption = \"aws:kms\"\nkms_key_id = \"k\"\n\
         request_payer = \"requester\"\nmultipart_part_bytes = 5242880\nstall_timeout = \"3s\"\n"
    );
    let config = coordinator(&text, &[("WARIFU_S3__MULTIPART_THRESHOLD_BYTES", "6000000")]).unwrap();
    let options = &config.s3.options;
    assert_eq!(options.ca_file.as_deref(), Some(std::path::Path::new("/ca.pem")));
    assert_eq!(options.server_side_encryption, Some(S3Encryption::AwsKms));
    assert_eq!((options.kms_key_id.as_deref(), options.request_payer.is_some()), (Some("k"), true));
    assert_eq!((options.multipart_threshold_bytes, options.multipart_part_bytes), (6_000_000, 5_242_880));
    assert_eq!(options.stall_timeout, Duration::from_secs(3));
    let shown = config.to_redacted_toml();
    for line in
        ["server_side_encryption = \"aws:kms\"", "request_payer = \"requester\"", "stall_timeout = \"3s\""]
    {
        assert!(shown.contains(line), "{shown}");
    }
    let refused = "[s3]\nserver_side_encryption = \"AES256\"\nkms_key_id = \"k\"\nrequest_payer = \"me\"\n\
                   multipart_part_bytes = 1\nstall_timeout = \"1h\"\n";
    let found = problems(worker(refused, &[]));
    let expected = [
        "s3.kms_key_id: goes with server_side_encryption = \"aws:kms\" only",
        "s3.multipart_part_bytes: must be a whole number from 5242880 to 67108864",
        "s3.stall_timeout: must be from 1s to 300s",
        "s3.request_payer: \"me\": write one of \"requester\"",
    ];
    assert_eq!(found, expected);
}
