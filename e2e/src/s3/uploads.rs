//! What the crate `s3s-fs` lacks: it lists no uploads, and has no answer of its own for one that has ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, GetObjectInput,
    GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListObjectsV2Input, ListObjectsV2Output, MultipartUpload, PutObjectInput, PutObjectOutput, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

/// An upload that was neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// The bucket.
    pub bucket: String,
    /// The key that it is for.
    pub key: String,
    /// When it was opened.
    pub opened: SystemTime,
}

/// The uploads that are open, by their identities. Clones share them.
pub(super) type OpenUploads = Arc<Mutex<BTreeMap<String, OpenUpload>>>;

/// The files of a store, and which uploads are open.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) files: FileSystem,
    pub(super) open: OpenUploads,
}

impl Files {
    fn known(&self, id: &str) -> S3Result<()> {
        let is_open = self.open.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id);
        if is_open { Ok(()) } else { Err(s3_error!(NoSuchUpload)) }
    }

    #[expect(clippy::disallowed_methods, reason = "a store has a clock")]
    fn opened(&self, id: String, bucket: String, key: String) {
        let upload = OpenUpload { bucket, key, opened: SystemTime::now() };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, upload);
    }

    fn ended(&self, id: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

type Answer<T> = S3Result<S3Response<T>>;

#[async_trait::async_trait]
impl S3 for Files {
    async fn get_object(&self, asked: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        self.files.get_object(asked).await
    }

    async fn head_object(&self, asked: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        self.files.head_object(asked).await
    }

    async fn put_object(&self, asked: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        self.files.put_object(asked).await
    }

    async fn delete_object(&self, asked: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        self.files.delete_object(asked).await
    }

    async fn list_objects_v2(&self, asked: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        self.files.list_objects_v2(asked).await
    }

    async fn create_multipart_upload(
        &self,
        asked: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let (bucket, key) = (asked.input.bucket.clone(), asked.input.key.clone());
        let answer = self.files.create_multipart_upload(asked).await?;
        if let Some(id) = &answer.output.upload_id {
            self.opened(id.clone(), bucket, key);
        }
        Ok(answer)
    }

    async fn upload_part(&self, asked: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        self.known(&asked.input.upload_id)?;
        self.files.upload_part(asked).await
    }

    async fn complete_multipart_upload(
        &self,
        asked: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let id = asked.input.upload_id.clone();
        self.known(&id)?;
        let answer = self.files.complete_multipart_upload(asked).await?;
        self.ended(&id);
        Ok(answer)
    }

    async fn abort_multipart_upload(
        &self,
        asked: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let id = asked.input.upload_id.clone();
        self.known(&id)?;
        let answer = self.files.abort_multipart_upload(asked).await?;
        self.ended(&id);
        Ok(answer)
    }

    async fn list_multipart_uploads(
        &self,
        asked: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        let ListMultipartUploadsInput { bucket, prefix, .. } = asked.input;
        let prefix = prefix.unwrap_or_default();
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let here = open.iter().filter(|(_, upload)| upload.bucket == bucket && upload.key.starts_with(&prefix));
        let uploads = here.map(|(id, upload)| MultipartUpload {
            key: Some(upload.key.clone()),
            upload_id: Some(id.clone()),
            initiated: Some(upload.opened.into()),
            ..MultipartUpload::default()
        });
        let output = ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            is_truncated: Some(false),
            ..ListMultipartUploadsOutput::default()
        };
        Ok(S3Response::new(output))
    }
}
